"""Prior masks from neutral photos and ICT FaceKit, measured against the masks the FMPN authors published for CK+.

    python -m benchmarks.masks_ict --neutral PHOTOS --ict FACEXMODEL [--mmi FOLDER] [--output masks.safetensors]

PHOTOS: frontal neutral faces, for the published figures the 51 of the Face Research Lab London Set (CC BY 4.0).
One scale and one shift, the same for all classes, lay our masks over the CK+ frame; nothing else is fitted.
"""

import argparse
import json

from fmpn_timm.faces import create_detector
from fmpn_timm.priors import MaskSet, draw_sheet, import_masks
from fmpn_timm.priors.compare import compare_masks
from fmpn_timm.priors.warp import build_masks_from_neutral

COLUMNS = ("r", "r_face", "specific", "specific_face", "nearest", "nearest_face", "classes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neutral", required=True)
    parser.add_argument("--ict", required=True)
    parser.add_argument("--yunet", help="YuNet's ONNX file; the Hub's if not given")
    parser.add_argument("--mmi", help="folder of the published MMI masks, for a line of their own")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--output", help="where to write the first seed's mixture (safetensors; a sheet beside it)")
    options = parser.parse_args()

    reference = MaskSet.load("ckplus")
    detector = create_detector("yunet", path=options.yunet)
    print("| masks | " + " | ".join(COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 1) + "|")
    if options.mmi:
        _row("MMI, published", compare_masks(import_masks(options.mmi, "mmi"), reference))
    variants = {
        "photos and renders": {},
        "photos only": dict(renders=0.0),
        "renders only": dict(renders=1.0),
        "exact landmarks": dict(jitter=0.0),
    }
    for name, changes in variants.items():
        for seed in options.seeds:
            masks = build_masks_from_neutral(options.neutral, options.ict, detector=detector, seed=seed, **changes)
            comparison = compare_masks(masks, reference)
            _row(name if len(options.seeds) == 1 else f"{name}, seed {seed}", comparison)
            if not changes and seed == options.seeds[0]:
                best = comparison
                if options.output:
                    masks.save(options.output)
                    draw_sheet(masks, options.output + ".png")
    print("\n" + json.dumps(best.as_dict()))


def _row(name: str, comparison) -> None:
    summary = comparison.summary()
    print(f"| {name} | " + " | ".join(str(summary[c]) for c in COLUMNS) + " |", flush=True)


if __name__ == "__main__":
    main()
