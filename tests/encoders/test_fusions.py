import pytest
import torch

from mmcl.encoders.fusions import FUSIONS, build_fusion
from mmcl.errors import ConfigError


@pytest.mark.parametrize("fusion", FUSIONS)
def test_views_become_one_vector(fusion):
    torch.manual_seed(0)
    views = [torch.rand(3, 8), torch.rand(3, 8)]
    built = build_fusion(fusion, {"audio": 8, "image": 8})
    assert built(views, None).shape == (3, built.dim) and built.dim == (16 if fusion == "concat" else 8)


@pytest.mark.parametrize("fusion", ["gated", "attention"])
def test_a_missing_view_is_masked(fusion):
    torch.manual_seed(0)
    built, image = build_fusion(fusion, {"audio": 8, "image": 8}), torch.rand(2, 8)
    missing = torch.tensor([[True, False]] * 2)
    one, other = (built([audio, image], missing) for audio in (torch.zeros(2, 8), torch.zeros(2, 8)))
    torch.testing.assert_close(one, other)
    assert not torch.allclose(built([torch.rand(2, 8), image], None), one)


def test_unknown_fusions_and_unequal_sizes_raise():
    with pytest.raises(ConfigError, match="concta.*concat"):
        build_fusion("concta", {"audio": 8})
    with pytest.raises(ConfigError, match="gated.*audio 8, image 4"):
        build_fusion("gated", {"audio": 8, "image": 4})
