"""Print the golden values of metric networks: ``python -m tests.golden.metric_networks``.

They stand in `a3d_bench.metrics.perceptual.LPIPS_GOLDEN` and
`a3d_bench.metrics.identity.MOBILEFACENET_GOLDEN`, and are what the pinned weights find between the
two pictures of `a3d_bench.metrics.spec.golden_pictures`. LPIPS is computed here by the published
package, not by our own code.
"""

import json
import sys

from a3d_bench.metrics.identity import CROP_PX, MobileFaceNetCsim
from a3d_bench.metrics.spec import golden_pictures
from a3d_bench.weights import MOBILEFACENET
from any3davatar.faces import FaceMesh
from any3davatar.networks.lpips_network import ALEX, VGG, load_lpips
from any3davatar.registry_files import fetched


def golden_values() -> dict[str, float]:
    """Return the values by metric id."""
    a, b = golden_pictures()
    values = {
        f"lpips[{kind.name}]": float(load_lpips(kind)(a[None], b[None], normalize=True))
        for kind in (ALEX, VGG)
    }
    faces = MobileFaceNetCsim(FaceMesh.load(), fetched(MOBILEFACENET))
    crops = [picture.repeat(1, 2, 2)[:, :CROP_PX, :CROP_PX] for picture in (a, b)]
    values["csim[mobilefacenet]"] = faces.compare(*map(faces.embedding, crops))
    return values


if __name__ == "__main__":
    sys.stdout.write(json.dumps(golden_values(), indent=1) + "\n")
