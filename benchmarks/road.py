"""How fast images go the whole road: storescu -> router -> storescp, two tags changed on the way, against Orthanc.

    python -m benchmarks.road [--images 200] [--rounds 3] [--rows 64]

Both get the same images from the same storescu over one association and send them to the same kind of storescp. Orthanc
routes by a Lua script that modifies and sends each stored instance (it also stores and indexes them); ours keeps each
image until its destination has confirmed it, and writes history. Seconds are from the first byte sent to the last image
that the receiver has; x is the ratio of the rates, by round.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from engine.demo.studies import synthetic, write
from tests.peers import StoreSCP, free_port, orthanc, storescp, storescu, wait_until
from tests.running import running_axiom

LUA = """
function OnStoredInstance(id, tags, metadata, origin)
  if origin["RequestOrigin"] ~= "Lua" then
    local changed = ModifyInstance(id, {InstitutionName = "Axiom Hospital", StationName = "ROUTED"}, {}, true)
    SendToModality(changed, "pacs")
  end
end
"""

RULES = """
sources: [{{name: in, kind: dimse_listener, port: {listener}}}]
destinations: [{{name: pacs, kind: dimse, host: 127.0.0.1, port: {pacs}, ae_title: PACS}}]
rulesets:
- name: main
  priority: 1
  rules:
  - name: all
    priority: 1
    morphs: [{{kind: set, tag: InstitutionName, value: Axiom Hospital}}, {{kind: set, tag: StationName, value: ROUTED}}]
    destinations: [pacs]
"""


def timed(files: list[Path], port: int, called: str, scp: StoreSCP) -> float:
    """Send the files and wait until the receiver has as many more; images a second."""
    before = len(scp.files)
    begun = time.monotonic()
    storescu(files, port, called=called)
    wait_until(lambda: len(scp.files) >= before + len(files), 120, "the images to arrive")
    return len(files) / (time.monotonic() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=64)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="axiom-road-") as name:
        base = Path(name)
        rounds = [
            write(synthetic("CT", 1, args.images, rows=args.rows, study=n), base / f"in{n}")
            for n in range(1, args.rounds + 2)
        ]
        (base / "route.lua").write_text(LUA)
        ours_port, theirs_port = free_port(), free_port()
        with (
            storescp(base / "ours", port=ours_port) as ours,
            storescp(base / "theirs", port=theirs_port) as theirs,
            running_axiom(base / "home") as axiom,
            orthanc(
                base / "orthanc",
                LuaScripts=[str(base / "route.lua")],
                DicomModalities={"pacs": ["PACS", "127.0.0.1", theirs_port]},
            ) as (orthanc_port, _),
        ):
            axiom.apply(RULES.format(listener=axiom.dimse_port, pacs=ours_port))
            wait_until(lambda: axiom.json("status")["listeners"][0]["state"] == "listening", 30, "the listener")
            ratios = []
            for n, files in enumerate(rounds):  # the first is a warm-up
                a = timed(files, axiom.dimse_port, "AXIOM", ours)
                b = timed(files, orthanc_port, "ORTHANC", theirs)
                if n:
                    ratios.append(a / b)
                    print(f"round {n}: ours {a:.0f} images/s, Orthanc {b:.0f} images/s, x {a / b:.1f}")
            print(f"median x {statistics.median(ratios):.1f}")


if __name__ == "__main__":
    main()
