"""The rows of claims and reports for the store."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dexter.reasoning.claims import Claim, Proportion
from store.markdown.study import report_markdown

if TYPE_CHECKING:
    from dexter.reasoning.detection import Detector


def claim_row(claim: Claim, generator: str, detector: "Detector | None") -> dict[str, Any]:
    """Return a claim as the columns of its row, with those of its evidence under "contexts"."""
    row = claim.to_dict()
    flips = row.pop("flips")
    row |= {"flips": flips["hits"], "flip_low": flips["low"], "flip_high": flips["high"]}
    for name, proportion in (("prior", claim.prior), ("in_frames", claim.in_frames)):
        row |= _proportion(name, proportion)
    for context in row["contexts"]:
        context["context"] = context.pop("name")
    return row | {"generator": generator, "detector": None if detector is None else detector.name}


def _proportion(name: str, proportion: Proportion | None) -> dict[str, Any]:
    if proportion is None:
        return {name: None}
    return {
        name: proportion.value,
        f"{name}_low": proportion.low,
        f"{name}_high": proportion.high,
        f"{name}_n": proportion.n,
    }


def report_text(body: Mapping[str, Any]) -> str:
    """Return a report as a page of its own."""
    return report_markdown(body)
