"""Choose settings of class-incremental strategies on the validation split, with at most four choices for each.

Trains on the split `train`, tests on `valid`, with other seeds than tables of results. Settings of one strategy do not
touch those of another, so that run number n has the n-th choice of every strategy. A run that was interrupted resumes.

    python tests/benchmarks/choose_settings.py barista --folder runs/choose
    python tests/benchmarks/choose_settings.py fsdd --folder runs/choose --strategies lucir icarl --seeds 10 11
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table

from mmcl.runs.run import Run


def _each(key: str, *values: object) -> list[str]:
    return [f"{key}={value}" for value in values]


CHOICES = {
    "lwf": _each("distillation.weight", 0.3, 1, 3, 10),
    "icarl": _each("distillation.weight", 0.3, 1, 3, 10),
    "coconut": [
        f"coconut.mm_weight={weight} coconut.temperature={temperature}"
        for weight, temperature in ((0.1, 0.1), (1, 0.1), (1, 0.5), (3, 0.5))
    ],
    "er_ace": _each("rehearsal.er_ace.current", "batch", "experience"),
    "der": _each("rehearsal.der.alpha", 0.1, 0.3, 1, 3),
    "der_pp": [
        f"rehearsal.der_pp.alpha={alpha} rehearsal.der_pp.beta={beta}"
        for alpha, beta in ((0.1, 0.5), (0.1, 1), (0.3, 0.5), (1, 1))
    ],
    "agem": _each("rehearsal.agem.reference_size", "null", 8, 64),
    "wa": [
        *(f"rehearsal.wa.clip_weights=false rehearsal.wa.temperature={each}" for each in (1, 2, 4)),
        "rehearsal.wa.clip_weights=true rehearsal.wa.temperature=2",
    ],
    "bic": _each("rehearsal.bic.held_out", 0.1, 0.2, 0.3, 0.4),
    "lucir": [
        f"rehearsal.lucir.forget_weight={forget} rehearsal.lucir.margin_weight={margin}"
        for forget, margin in ((2, 1), (5, 1), (10, 1), (5, 0))
    ],
    "ewc": _each("regularization.ewc.weight", 1e4, 1e5, 1e6, 1e7),
    "si": _each("regularization.si.weight", 1, 10, 100, 1000),
    "mas": _each("regularization.mas.weight", 0.01, 0.1, 1, 10),
    "ncm": _each("readout.ncm.normalize", "false", "true"),
    "slda": _each("readout.slda.shrinkage", "oas", 0.1, 0.3, 0.5),
    "ranpac": _each("readout.ranpac.projections", 1000, 2000, 4000),
    "fecam": [
        f"readout.fecam.covariance={covariance} readout.fecam.tukey={tukey} readout.fecam.shrinkage={shrinkage} "
        "readout.fecam.off_diagonal=0 readout.fecam.unit_length=false"
        for covariance, tukey, shrinkage in (
            ("shared", 1, 0.3),
            ("shared", 0.5, 0.3),
            ("shared", 1, 1),
            ("class", 0.5, 1),
        )
    ],
}


def run(config: str, chosen: dict[str, str], seeds: list[int], folder: Path) -> None:
    """Train every strategy with its choice, or resume that."""
    command = [sys.executable, "-m", "mmcl", "run"]
    if (folder / "metrics.jsonl").exists():
        command += ["--resume", str(folder)]
    else:
        settings = " ".join(dict.fromkeys(chosen.values())).split()
        splits = ["data.train=[train]", "data.test=valid", "threads=1"]
        names = [f"strategy=[{','.join(chosen)}]", f"seeds={seeds}"]
        command += ["slu_incremental", "--config", config, *names, *splits, *settings, "--folder", str(folder)]
    subprocess.run(command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config of slu_incremental")
    parser.add_argument("--strategies", nargs="+", default=list(CHOICES), choices=CHOICES, help="default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[10, 11], help="default: 10 11")
    parser.add_argument("--folder", type=Path, required=True, help="folder of the runs")
    arguments = parser.parse_args()
    table = Table("strategy", "choice", "last accuracy", "each seed", title=f"{arguments.config}, validation split")
    found: dict[str, list[tuple[int, str, float]]] = {name: [] for name in arguments.strategies}
    for number in range(max(len(CHOICES[name]) for name in arguments.strategies)):
        chosen = {name: CHOICES[name][number] for name in arguments.strategies if number < len(CHOICES[name])}
        folder = arguments.folder / f"{arguments.config}-{number + 1}"
        run(arguments.config, chosen, arguments.seeds, folder)
        for row in [row for row in Run.read(folder).metrics("result") if row["strategy"] in chosen]:
            found[row["strategy"]].append((row["seed"], chosen[row["strategy"]], 100 * row["last_accuracy"]))
    for name, rows in found.items():
        means = {each: fmean(value for _, choice, value in rows if choice == each) for each in CHOICES[name]}
        for choice, mean in means.items():
            best = " [bold]best[/]" if mean == max(means.values()) else ""
            seeds = ", ".join(f"{value:.1f}" for _, own, value in rows if own == choice)
            table.add_row(name, choice, f"{mean:.1f}{best}", seeds)
    Console().print(table)


if __name__ == "__main__":
    main()
