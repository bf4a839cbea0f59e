"""`make docs`: build the site, strictly, and check the links of what was built.

docs/*.md --Sphinx, a warning is an error--> OUT --built_links.check--> faults, external-links.txt
exit code 1: a page does not build, a link leads nowhere, a page loads from another host
"""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.cmd.build import build_main

from docs.site.built_links import check

DOCS = Path(__file__).parents[1]
OPTIONS = ("--quiet", "--fail-on-warning", "--keep-going", "--nitpicky", "--builder", "html")


def main(out: Path) -> int:
    """Build into out; 0 when the site is whole."""
    failed = build_main([*OPTIONS, "--conf-dir", str(DOCS / "site"), str(DOCS), str(out)])
    if failed:
        return failed
    found = check(out)
    addresses = sorted(found.external)
    (out / "external-links.txt").write_text("\n".join(addresses) + "\n", encoding="utf-8")
    sys.stderr.writelines(f"{fault}\n" for fault in found.faults)
    sys.stdout.write(
        f"{found.pages} pages in {out}; {len(addresses)} links to other hosts are listed in "
        f"{out / 'external-links.txt'}, not followed\n"
    )
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
