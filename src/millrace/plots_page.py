"""The page that `dvc plots show` and `dvc plots diff` write, with Vega inside it: DVC's own loads Vega from a CDN.

`.dvc/config` names `.dvc/plots/page.html`, which is committed. `make plots-page` writes it anew from
`.dvc/plots/shell.html` after a change there or an upgrade of vl-convert-python.
"""

from __future__ import annotations

from pathlib import Path

import vl_convert

PLOTS_DIR = Path(__file__).parents[2] / ".dvc" / "plots"
# The newest Vega-Lite of the major version that the charts of DVC's templates are written for.
VEGA_LITE = "5.21"


def plots_page() -> str:
    """The shell with Vega, Vega-Lite and Vega-Embed in it; DVC fills in the plots."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", VEGA_LITE)
    page = (PLOTS_DIR / "shell.html").read_text(encoding="utf-8")
    for name, text in (
        ("vega_version", vl_convert.get_vega_version()),
        ("vega_lite_version", VEGA_LITE),
        ("vega_embed_version", vl_convert.get_vega_embed_version()),
        ("vega_bundle", bundle.strip()),
    ):
        page = page.replace(f"{{{name}}}", text)
    return page


if __name__ == "__main__":
    (PLOTS_DIR / "page.html").write_text(plots_page(), encoding="utf-8", newline="\n")
