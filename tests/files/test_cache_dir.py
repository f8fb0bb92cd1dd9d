from pathlib import Path

from mmcl.encoders.cache import default_folder
from mmcl.files.cache_dir import cache_dir

SOURCE = Path(__file__).parents[2] / "mmcl"


def test_variable_takes_precedence_over_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MMCL_CACHE", "~/elsewhere")
    assert cache_dir() == tmp_path / "elsewhere"
    monkeypatch.setenv("MMCL_CACHE", "")
    assert cache_dir() == tmp_path / ".cache" / "mmcl"
    monkeypatch.delenv("MMCL_CACHE")
    assert cache_dir() == tmp_path / ".cache" / "mmcl" and default_folder() == cache_dir() / "features"


def test_one_function_reads_the_variable():
    readers = [path.name for path in SOURCE.rglob("*.py") if 'environ.get("MMCL_CACHE")' in path.read_text()]
    assert readers == ["cache_dir.py"]
