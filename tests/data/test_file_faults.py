"""Faults of files and warnings of loaders."""

import logging

import numpy as np
import soundfile

from mmcl.data.file_faults import examined_file, logged_faults


def test_a_recording_has_its_seconds_and_one_that_is_not_decoded_has_none(tmp_path):
    soundfile.write(tmp_path / "a.wav", 0.2 * np.sin(np.arange(8_000) * 0.3), 8_000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(800), 8_000)
    (tmp_path / "b.wav").write_text("no sound")
    assert examined_file(tmp_path / "a.wav") == ([], 1.0)
    ((fault,), seconds) = examined_file(tmp_path / "silent.wav")
    assert fault.warning and fault.reason.startswith("is silent") and seconds == 0.1
    ((fault,), seconds) = examined_file(tmp_path / "b.wav", "line 3")
    assert not fault.warning and fault.reason.endswith("(line 3)") and seconds is None


def test_warnings_are_collected_and_not_shown(tmp_path, caplog):
    faults = []
    with logged_faults(faults, tmp_path):
        logging.getLogger("mmcl.data").warning("skipped %d rows", 3)
    assert [(fault.path, fault.reason, fault.warning) for fault in faults] == [(tmp_path, "skipped 3 rows", True)]
    logging.getLogger("mmcl.data").warning("afterwards")
    assert len(faults) == 1 and not any("skipped" in record.message for record in caplog.records)
