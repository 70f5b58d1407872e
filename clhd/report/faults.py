"""What is wrong with figures, claims and the report: they were changed, or rest on what is no longer there."""

from pathlib import Path

from clhd.sweep.results.products import claims_record, figure_record, find_faults, report_record
from clhd.sweep.spec.config import ConfigContent


def find_claims_faults(config: ConfigContent, results: Path) -> dict[str, str]:
    """Return what is wrong with the claims, see `find_faults`; nothing if they have not been judged yet."""
    if config.claims is None or not (results / "claims.json").exists():
        return {}
    path = Path(config.claims)
    settings = path.read_bytes() if path.is_file() else None
    return find_faults(claims_record(results), results, "clhd claims", settings)


def find_figure_faults(results: Path, name: str) -> dict[str, str]:
    """Return what is wrong with the figure of an experiment; nothing if it has not been drawn."""
    folder = results / name / "figures"
    if not any(folder.glob(f"{name}.*")):
        return {}
    return find_faults(figure_record(folder, name), results, "clhd plot FILE")


def find_product_faults(config: ConfigContent, results: Path) -> list[str]:
    """Return what is wrong with all figures, the claims and the report, one line each."""
    faults = [fault for name in config.experiments for fault in find_figure_faults(results, name).values()]
    faults += find_claims_faults(config, results).values()
    return [*faults, *find_report_faults(results).values()]


def find_report_faults(results: Path) -> dict[str, str]:
    """Return what is wrong with the report; nothing if it has not been written."""
    return find_faults(report_record(results), results, "clhd report") if (results / "report.html").exists() else {}
