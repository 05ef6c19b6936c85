"""Networks by name: their shapes, their cut, fixed encoders and encoder weights."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small_model
import timm
import timm.models._builder as builder
import torch
from monai.networks.nets.vnet import VNet
from safetensors.torch import load_file, save_file

from medtl.errors import ModelError
from medtl.finetuning.decoder import DecoderWeights, Tuning, tune
from medtl.finetuning.features import EncodedSlices, decode, encode
from medtl.finetuning.run import TimeBudget
from medtl.finetuning.slice_tuning import SliceExamples
from medtl.model import networks
from medtl.model.bundle import Model, load_model
from medtl.model.card import NetworkSpec
from medtl.model.network import Network
from medtl.model.networks import NETWORKS, bf16_pays, build
from medtl.phantom import head
from medtl.segmentation import InferenceOptions, segment

ROOT = Path(__file__).resolve().parents[3]
ENCODERS = (
    "vgg16",
    "vgg19",
    "mobilenetv2_100",
    "tf_efficientnet_lite0",
    "efficientnet_b0",
    "resnet50",
    "densenet121",
    "legacy_xception",
)
SMALL = "mobilenetv2_050"
TINY = {
    "unet2d": {"encoder": SMALL},
    "dualunet2d": {"encoder": SMALL, "decoder": [16, 8, 8]},
    "basicunet2d": {"features": [4, 4, 8, 8, 8, 4]},
    "vnet2d": {},
    "unetr2d": {"size": 64, "features": 4, "hidden": 16, "heads": 2},
    "swinunetr2d": {"features": 12},
}
# The network called whole: MONAI's own forward, which knows of no cut.
TWINS: dict[str, Callable[[Any], torch.nn.Module]] = {
    "basicunet2d": lambda network: network.unet,
    "vnet2d": lambda network: monai_vnet(network),
    "unetr2d": lambda network: network.unetr,
    "swinunetr2d": lambda network: network.swin,
}


def monai_vnet(network: Any) -> torch.nn.Module:
    """MONAI's VNet with the weights of ours."""
    weights = network.vnet.state_dict()
    channels, outputs = weights["in_tr.conv_block.conv.weight"].shape[1], len(weights["out_tr.conv2.weight"])
    twin = VNet(2, channels, outputs).eval()
    twin.load_state_dict(weights)
    return twin


# Arguments of networks that see windows.
PLAIN = {
    "channels": 1,
    "outputs": 2,
    "features": [4, 8],
    "kernels": [[3, 3], [3, 3]],
    "strides": [[1, 1], [2, 2]],
    "blocks": [2, 2],
    "decoder_blocks": [1],
}
VOLUMES = PLAIN | {"kernels": [[3, 3, 3]] * 2, "strides": [[1, 1, 1], [2, 2, 2]]}
ZOO = {"in_channels": 1, "out_channels": 2}


@pytest.fixture(autouse=True)
def light(monkeypatch):
    """Random weights by the fastest rule: timm's own take seconds for VGG."""
    for name in ("kaiming_normal_", "kaiming_uniform_", "xavier_uniform_", "xavier_normal_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor.data.uniform_(-0.05, 0.05))


def snapshot(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in module.state_dict().items()}


def changed(before: dict[str, torch.Tensor], module: torch.nn.Module) -> list[str]:
    """Names of what is no longer bit for bit the same."""
    return [k for k, v in module.state_dict().items() if not torch.equal(v, before[k])]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_unet_on_this_encoder_has_a_cut_and_stays_fixed_where_it_is_frozen(encoder):
    torch.manual_seed(0)
    network = build("unet2d", {"encoder": encoder, "channels": 3, "labels": 2, "frozen": True})
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        network.eval()
        logits = network(x)
        assert logits.shape == (2, 3, 64, 64)
        assert torch.isfinite(logits).all()
        assert torch.equal(logits, network.decode(network.encode(x)))
    network.train()
    before = snapshot(network.unet.encoder), snapshot(network.unet.decoder)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=0.01)
    network(x).square().mean().backward()
    optimiser.step()
    assert changed(before[0], network.unet.encoder) == []
    assert changed(before[1], network.unet.decoder)


def test_a_frozen_encoder_is_fixed_before_anyone_calls_train():
    network = build("unet2d", {"encoder": SMALL, "channels": 3, "labels": 1, "frozen": True})
    before = snapshot(network.unet.encoder)
    network(torch.randn(2, 3, 64, 64))
    assert changed(before, network.unet.encoder) == []


def test_an_encoder_that_is_not_frozen_learns():
    network = build("unet2d", {"encoder": SMALL, "channels": 1, "labels": 1}).train()
    before = snapshot(network.unet.encoder)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    network(torch.randn(2, 1, 64, 64)).square().mean().backward()
    optimiser.step()
    names = changed(before, network.unet.encoder)
    assert any("conv" in n for n in names)
    assert any("running_mean" in n for n in names)


def tiny(name: str, channels: int = 1, labels: int = 1) -> Network:
    """A small network of that name, with seeded weights and batch statistics of its own."""
    torch.manual_seed(3)
    network = build(name, {"channels": channels, "labels": labels, **TINY[name]})
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def test_every_network_of_slices_is_looked_at_here():
    slices = {name for name in NETWORKS if name.endswith("2d")}
    assert set(TINY) == slices - {"classifier2d"}
    assert set(TWINS) == slices - {"unet2d", "dualunet2d", "classifier2d"}


def test_a_classifier_has_a_cut_before_it_decides_where_to_look():
    torch.manual_seed(0)
    network = build("classifier2d", {"encoder": SMALL, "channels": 1, "classes": 3}).eval()
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        features = network.encode(x)
        logits = network(x)
        assert features[0].shape[2:] == (4, 4)
        assert logits.shape == (2, 3)
        assert torch.equal(logits, network.decode(features))
        _, attention = network.attend(features)
        for k in range(2):
            places = [(r, c) for r in range(4) for c in range(4)]
            weights = torch.stack([attention[k, r, c].exp() for r, c in places])
            mixed = network.mix(features[0])[k]
            averaged = sum(w * mixed[:, r, c] for w, (r, c) in zip(weights / weights.sum(), places, strict=True))
            torch.testing.assert_close(logits[k], network.head(averaged), rtol=1e-4, atol=1e-4)


def test_a_classifier_takes_an_encoders_weights_from_a_file(tmp_path):
    torch.manual_seed(0)
    whole = timm.create_model(SMALL, num_classes=10)
    save_file(whole.state_dict(), tmp_path / "weights.safetensors")
    arguments = {"encoder": SMALL, "channels": 1, "classes": 3}
    network = build("classifier2d", arguments | {"encoder_weights": str(tmp_path / "weights.safetensors")}).eval()
    grey = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        blocks = whole.eval().forward_intermediates(grey.expand(-1, 3, -1, -1), intermediates_only=True)
        found = network.encode(grey)[0]
        count = blocks[-2].shape[1]
        torch.testing.assert_close(found[:, :count], blocks[-2], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(found[:, count:].mean((2, 3)), blocks[-1].mean((2, 3)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize(("channels", "labels"), [(1, 1), (4, 3)])
def test_the_cut_changes_nothing(name, channels, labels):
    network = tiny(name, channels, labels)
    x = torch.randn(2, channels, 64, 64)
    with torch.no_grad():
        logits = network(x)
        assert logits.shape == (2, labels + 1, 64, 64)
        assert torch.equal(logits, TWINS[name](network)(x))
        assert logits.std() > 1e-6


@pytest.mark.parametrize("name", TINY)
def test_the_multiple_is_a_size_that_works(name):
    network = tiny(name)
    m = network.multiple
    with torch.no_grad():
        for size in ((m, m), (m, 3 * m)):
            assert network(torch.zeros(1, 1, *size)).shape[2:] == size


@pytest.mark.parametrize("name", TINY)
def test_features_are_maps_of_the_image_finest_first(name):
    """Tuning cuts windows of an image out of its features, so each of them must lie over the image pixel by pixel."""
    network = tiny(name)
    image = torch.zeros(1, 1, 128, 192)
    with torch.no_grad():
        features = network.encode(image)
    steps = [128 // f.shape[2] for f in features]
    assert steps == sorted(steps)
    assert steps[0] == 1
    for feature, step in zip(features, steps, strict=True):
        assert feature.is_floating_point()
        assert feature.shape[2:] == (128 // step, 192 // step)
        assert network.multiple % step == 0


def test_a_unet_has_the_decoder_that_is_asked_for():
    arguments = {"encoder": SMALL, "channels": 1, "labels": 1}
    whole, half = (build("unet2d", arguments | more) for more in ({}, {"decoder": [128, 64, 32, 16, 8]}))
    weights = [sum(p.numel() for p in each.unet.decoder.parameters()) for each in (whole, half)]
    assert weights[1] < 0.5 * weights[0]
    assert half.eval()(torch.zeros(1, 1, 64, 64)).shape == (1, 2, 64, 64)


def test_a_short_unet_stores_no_layer_that_it_does_not_use():
    network = build("unet2d", {"encoder": SMALL, "channels": 1, "labels": 1, "decoder": [16, 8, 8]}).train()
    network(torch.randn(2, 1, 16, 16)).sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())
    assert network.multiples == (8, 8)


@pytest.mark.parametrize("name", list(TWINS))
def test_a_feature_s_place_is_that_of_the_image(name):
    """A spot in the image shows in each feature at that spot most of all: rows are not columns, nothing is turned."""
    network = tiny(name)
    image = torch.zeros(1, 1, 64, 128)
    spot = image.clone()
    spot[:, :, 48:64, 16:32] = 3.0
    with torch.no_grad():
        changes = [(a - b).abs().sum((0, 1)) for a, b in zip(network.encode(spot), network.encode(image), strict=True)]
    for change in changes[:-1]:
        step = 64 // change.shape[0]
        row, column = divmod(int(change.argmax()), change.shape[1])
        assert 40 <= row * step < 64
        assert 8 <= column * step < 40


def test_a_unetr_learns_positions_that_span_an_image_of_any_size():
    network = tiny("unetr2d")
    learned = network.unetr.vit.patch_embedding.position_embeddings
    with torch.no_grad():
        rows = torch.arange(4.0)
        learned.copy_((rows[:, None] * 10 + rows[None]).reshape(1, 16, 1).expand(-1, -1, 16))
        found = network.positions(2, 8)[0, :, 0].reshape(2, 8)
    assert torch.allclose(found[:, 0], torch.tensor([5.0, 25.0]))  # half-way between rows 0 and 1, and 2 and 3
    assert torch.allclose(found[0] - 5.0, torch.tensor([0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]))


@pytest.mark.parametrize("features", [4, 16])
def test_a_vnet_s_dropout_is_for_training_alone(features):
    network = build("vnet2d", {"channels": 1, "labels": 1, "features": features}).eval()
    # On a batch of slices Dropout3d, which MONAI's VNet has in 2D too, drops whole slices in place of channels.
    assert not any(isinstance(module, torch.nn.Dropout3d) for module in network.modules())
    x = torch.randn(1, 1, 32, 32)
    features = network.encode(x)
    assert torch.equal(network.decode(features), network.decode(features))
    network.train()
    assert not torch.equal(network(x), network(x))


@pytest.mark.parametrize("name", TINY)
def test_each_network_is_a_model_that_segments_and_can_be_tuned(name, tmp_path):
    spec = NetworkSpec(name, {"channels": 1, "labels": 1, **TINY[name]}, "net.")
    card = replace(small_model.a_card(), networks=(spec,), input=small_model.WINDOW)
    small_model.save(tmp_path / "model", card)
    model = load_model(str(tmp_path / "model"), "cpu")
    volume = head(1, (70, 50, 2), (3.0, 3.0, 40.0)).volume
    found = segment(volume, model, InferenceOptions())
    assert found.labelmap.array.shape == volume.array.shape
    for bf16 in (False, True):
        tuned_once(replace(model, bf16=bf16))


def tuned_once(model: Model) -> None:
    """Two steps on windows of cached features move the decoder, and nothing that comes before the cut."""
    network = model.networks[0]
    truth = torch.zeros(2, 96, 128, dtype=torch.long)
    truth[:, 20:60, 30:90] = 1
    example = EncodedSlices(0, (0, 1), encode(model, torch.randn(2, 1, 96, 128)), truth)
    before, features = snapshot(network), network.encode(torch.ones(1, 1, 64, 64))
    options = Tuning(steps=2, batch=2, window=64)
    examples = SliceExamples(model, [example], options)
    tuned = DecoderWeights(model, examples.parameters())
    tune(tuned, examples, options, TimeBudget(60.0), lambda share, loss: None)
    tuned.use(1.0)
    names = changed(before, network)
    assert names
    assert set(names) <= set(tuned.parameters[0])
    assert torch.isfinite(decode(model, example.features)).all()
    for one, other in zip(features, network.encode(torch.ones(1, 1, 64, 64)), strict=True):
        assert torch.equal(one, other)
    tuned.use(0.0)


def saved_encoder(folder: Path, encoder: str, dtype: torch.dtype = torch.float32) -> Path:
    """A file of random weights in the names of a whole timm classifier, as its hub has it, but for VGG's vast head."""
    torch.manual_seed(5)
    with torch.device("meta"):
        shapes = timm.create_model(encoder, pretrained=False).state_dict()
    path = folder / f"{encoder}.safetensors"
    weights = {
        k: torch.rand(v.shape).to(dtype) if v.is_floating_point() else torch.zeros(v.shape, dtype=v.dtype)
        for k, v in shapes.items()
        if "pre_logits" not in k
    }
    save_file(weights, path)
    return path


@pytest.mark.parametrize("encoder", ENCODERS[1:])  # VGG16 has VGG19's names
def test_encoder_weights_come_from_a_local_file_of_timm_s_names(encoder, tmp_path):
    path = saved_encoder(tmp_path, encoder)
    torch.manual_seed(6)
    network = build("unet2d", {"encoder": encoder, "channels": 3, "labels": 1, "encoder_weights": str(path)})
    stored = {k.replace(".", "_"): v for k, v in load_file(path).items()}
    for name, value in network.unet.encoder.model.state_dict().items():
        key = name.replace(".", "_").removeprefix("body_")
        assert torch.equal(value, stored[key])


@pytest.mark.parametrize(
    ("encoder", "weights", "channels"),
    [
        (SMALL, "imagenet", 3),
        (SMALL, "lamb_in1k", 1),
        (SMALL, "imagenet", 5),
        ("densenet121", "imagenet", 1),
        ("densenet121", "tv_in1k", 3),
    ],
)
def test_a_hub_name_and_a_local_file_give_the_same_encoder(encoder, weights, channels, tmp_path, monkeypatch):
    path = saved_encoder(tmp_path, encoder)
    asked = []

    def from_the_hub(model_id, *_, **__):
        asked.append(model_id)
        return load_file(path)

    monkeypatch.setattr(builder, "load_state_dict_from_hf", from_the_hub)
    arguments = {"encoder": encoder, "channels": channels, "labels": 1}
    hub = build("unet2d", arguments | {"encoder_weights": weights})
    assert len(asked) == 1
    if weights != "imagenet":
        assert asked[0].endswith(f"{encoder}.{weights}")
    local = build("unet2d", arguments | {"encoder_weights": str(path)})
    assert len(asked) == 1
    one, other = (n.unet.encoder.state_dict() for n in (hub, local))
    assert list(one) == list(other)
    for name in one:
        assert torch.allclose(one[name], other[name]), name


def test_half_precision_weights_are_taken_as_float32(tmp_path):
    path = saved_encoder(tmp_path, SMALL, torch.float16)
    network = build("unet2d", {"encoder": SMALL, "channels": 3, "labels": 1, "encoder_weights": str(path)})
    assert network.unet.encoder.model.conv_stem.weight.dtype == torch.float32
    assert torch.equal(network.unet.encoder.model.conv_stem.weight, load_file(path)["conv_stem.weight"].float())


def test_weights_that_do_not_fit_are_refused(tmp_path):
    path = saved_encoder(tmp_path, SMALL)
    whole = load_file(path)
    few = {k: v for k, v in whole.items() if not k.startswith("blocks.3.1")}
    save_file(few, tmp_path / "few.safetensors")
    save_file(whole | {"blocks.0.0.conv_dw.weight": torch.zeros(7, 1, 3, 3)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    for name, message in (
        ("few", r"15 layers missing.*blocks\.3\.1"),  # three convolutions, three batch norms of four
        ("other", "1 of another shape"),
        ("text", "Could not read encoder weights"),
        ("none", "Could not read encoder weights"),
    ):
        weights = str(tmp_path / f"{name}.safetensors")
        with pytest.raises(ModelError, match=message):
            build("unet2d", {"encoder": SMALL, "channels": 3, "labels": 1, "encoder_weights": weights})


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("nnunet", {}, r"Expected a network of unet2d, .*plainunet, .*, found 'nnunet'"),
        ("unet2d", {"channels": 1, "labels": 1}, "does not take the arguments"),
        ("unet2d", {"encoder": "vgg_none", "channels": 1, "labels": 1}, "does not take the arguments"),
        ("unet2d", {"encoder": 7, "channels": 1, "labels": 1}, "does not take the arguments"),
        ("unet2d", {"encoder": SMALL, "channels": "many", "labels": 1}, "does not take the arguments"),
        ("unet2d", {"encoder": SMALL, "channels": 1, "labels": 1, "colour": 2}, "does not take the arguments"),
        ("unet2d", {"encoder": "hf-hub:some/one", "channels": 1, "labels": 1}, "name of a timm encoder"),
        ("unet2d", {"encoder": "local-dir:/some", "channels": 1, "labels": 1}, "name of a timm encoder"),
        ("basicunet2d", {"channels": 1, "labels": 1, "features": [1, 2]}, "does not take the arguments"),
        ("vnet2d", {"channels": 3, "labels": 1}, "divisible by in_channels"),
        ("vnet2d", {"channels": 1, "labels": 1, "features": 0}, "does not take the arguments"),
        ("unetr2d", {"channels": 1, "labels": 1, "hidden": 30}, "divisible by num_heads"),
        ("unetr2d", {"channels": 1, "labels": 1, "heads": 0}, "does not take the arguments"),
        ("unetr2d", {"channels": 1, "labels": 1, "size": 8}, "does not take the arguments"),
        ("swinunetr2d", {"channels": 1, "labels": 1, "features": 20}, "divisible by 12"),
        ("plainunet", PLAIN | {"features": [10**9, 8]}, "'features' is unknown or has a value that cannot be"),
        ("plainunet", PLAIN | {"features": [8] * 13}, "'features' is unknown or has a value that cannot be"),
        ("plainunet", PLAIN | {"outputs": 10**9}, "'outputs' is unknown or has a value that cannot be"),
        ("plainunet", PLAIN | {"kernels": [[3, 3], [3, 999]]}, "'kernels' is unknown or has a value that cannot be"),
        ("plainunet", PLAIN | {"kernels": [[[3]], [[3]]]}, "'kernels' is unknown or has a value that cannot be"),
        ("plainunet", PLAIN | {"strides": [[1, 1], [0, 2]]}, "'strides' is unknown or has a value that cannot be"),
        ("plainunet", PLAIN | {"blocks": [2, True]}, "'blocks' is unknown or has a value that cannot be"),
        ("plainunet", PLAIN | {"bias": 1}, "'bias' is unknown or has a value that cannot be"),
        ("plainunet", PLAIN | {"blocks": [2]}, "does not take the arguments"),
        ("residualunet", PLAIN | {"kernels": [[3] * 4] * 2}, "does not take the arguments"),
        ("unet3d", ZOO | {"channels": [8, 10**9], "strides": [2]}, "'channels' is unknown or has a value"),
        ("unet3d", ZOO | {"channels": [8], "strides": [2]}, "no less than 2"),
        ("segresnet3d", ZOO | {"norm": ["group", {"num_groups": "8"}]}, "'norm' is unknown or has a value"),
        ("segresnet3d", ZOO | {"norm": ["group", {"num_groups": 8}, 1]}, "'norm' is unknown or has a value"),
        ("segresnet3d", ZOO | {"dropout_prob": 1.5}, "'dropout_prob' is unknown or has a value"),
        ("segresnet3d", ZOO | {"spatial_dims": 1}, "'spatial_dims' is unknown or has a value"),
    ],
)
def test_unknown_networks_and_arguments_are_refused(name, arguments, message):
    with pytest.raises(ModelError, match=message):
        build(name, arguments)


def test_no_network_is_said_as_an_error_of_the_model(monkeypatch):
    def unplugged(*_, **__):
        raise ConnectionError("Network is unreachable")

    monkeypatch.setattr(builder, "load_state_dict_from_hf", unplugged)
    with pytest.raises(ModelError, match="Network is unreachable"):
        build("unet2d", {"encoder": SMALL, "channels": 3, "labels": 1, "encoder_weights": "imagenet"})


def test_a_network_of_nnunet_is_built_without_timm_and_monai():
    arguments = {"channels": 1, "outputs": 2, "features": [2], "kernels": [[3, 3]], "strides": [[1, 1]]}
    arguments |= {"blocks": [1], "decoder_blocks": []}
    code = f"import sys; from medtl.model.networks import build; build('plainunet', {arguments})\n"
    code += "print(sorted({'timm', 'monai', 'segmentation_models_pytorch', 'torchvision'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_parameters_are_counted():
    assert networks.parameter_count(torch.nn.Linear(3, 5)) == 20


def test_placing_keeps_what_the_network_says():
    network = build("basicunet2d", {"channels": 2, "labels": 1, "features": [4] * 6}).eval()
    x = torch.randn(1, 2, 32, 32)
    with torch.no_grad():
        before = network(x)
        placed = networks.place(network, "cpu")
        assert torch.allclose(placed(x.contiguous(memory_format=torch.channels_last)), before, atol=1e-5)


def test_a_network_of_volumes_can_be_placed():
    network = build("residualunet", VOLUMES).eval()
    x = torch.randn(1, 1, 4, 4, 4)
    with torch.no_grad():
        before = network(x)
        assert torch.equal(networks.place(network, "cpu")(x), before)


def in_bf16() -> bool:
    """Whether autocast is on; PyTorch before 2.4 has another function for it."""
    return torch.is_autocast_enabled("cpu") if hasattr(torch, "get_autocast_dtype") else torch.is_autocast_cpu_enabled()


class Timed(Network):
    """Takes as long as it is told to, on a clock of its own."""

    def __init__(self, fp32: float, bf16: float) -> None:
        super().__init__()
        self.cost, self.now, self.shapes = (fp32, bf16), 0.0, set()

    def forward(self, x):
        self.shapes.add(tuple(x.shape))
        self.now += self.cost[in_bf16()]
        return x


@pytest.mark.parametrize(
    ("fp32", "bf16", "pays"),
    [(1.0, 0.5, True), (1.0, 0.86, True), (1.0, 0.88, False), (1.0, 1.0, False), (1, 11, False)],
)
def test_bf16_pays_where_it_is_a_seventh_faster_by_the_clock(fp32, bf16, pays, monkeypatch):
    network = Timed(fp32, bf16)
    monkeypatch.setattr(networks, "time", SimpleNamespace(perf_counter=lambda: network.now))
    assert bf16_pays(network, 3) is pays
    assert {shape[1] for shape in network.shapes} == {3}


@pytest.mark.parametrize(("fp32", "bf16", "pays"), [(1.0, 0.5, True), (1.0, 0.9, False)])
def test_a_network_of_volumes_is_probed_by_one_convolution_of_features(fp32, bf16, pays, monkeypatch):
    network, seen = build("plainunet", VOLUMES | {"features": [32, 320], "channels": 3}).eval(), []
    clock = SimpleNamespace(now=0.0)

    def run(layer, inputs):
        seen.append((layer, tuple(inputs[0].shape)))
        clock.now += (fp32, bf16)[in_bf16()]

    for layer in network.modules():
        layer.register_forward_pre_hook(run)
    monkeypatch.setattr(networks, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    assert bf16_pays(network, 3) is pays
    assert {layer for layer, _ in seen} == {network.encoder.stages[0][0].convs[1].conv}
    assert {shape for _, shape in seen} == {(2, 32, 24, 24, 24)}


@pytest.mark.parametrize(
    "arguments",
    [
        VOLUMES,
        VOLUMES | {"channels": 500},
        VOLUMES | {"kernels": [[1, 1, 1]] * 2},
        PLAIN | {"strides": [[8, 16], [16, 8]]},  # 128, where one value would be left
        PLAIN | {"strides": [[1, 1], [3, 5]]},
    ],
)
def test_any_network_that_sees_windows_can_be_probed(arguments):
    assert bf16_pays(build("plainunet", arguments).eval(), arguments["channels"]) in (True, False)


def test_a_real_network_can_be_probed():
    network = build("basicunet2d", {"channels": 2, "labels": 1, "features": [4] * 6}).eval()
    before = snapshot(network)
    assert bf16_pays(network, 2) in (True, False)
    assert changed(before, network) == []
