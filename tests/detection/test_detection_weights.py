"""Initial weights from files of other systems, some of them damaged or hostile."""

from __future__ import annotations

import contextlib
import os
import pickle
import pickletools
import sys
from collections import OrderedDict

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from millrace.detection import array_pickle, detectron2_network, model
from millrace.detection.params import Model
from millrace.detection.weights import load, read_weights
from millrace.errors import UserError

SIZES = {"encoder": "resnet18", "channels": 16, "head": 32, "levels": (3, 4), "anchors_px": (16, 32)}
PICTURE = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))
ARRAYS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "turned": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "count": np.array(7, np.int64),
    "swapped": np.arange(3, dtype=">f4"),
    "none": np.empty((0, 4), np.float16),
}


@pytest.fixture(scope="module")
def detectron2():
    return pytest.importorskip(
        "detectron2", reason="detectron2 is not installed (docs/detection.md)", exc_type=ImportError
    )


def network(classes: int = 3, seed: int = 0, backend: str = "detectron2", **changes):
    torch.manual_seed(seed)
    return model.build(Model(backend=backend, **(SIZES | changes)), classes)


def detections(detector):
    detector.eval().configure(0.001, 0.5, 20)
    with torch.no_grad():
        return detector({"images": [PICTURE]})["detections"][0]


def assert_same(one, other):
    assert len(one["boxes"])
    torch.testing.assert_close(one["boxes"], other["boxes"], rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(one["scores"], other["scores"], rtol=1e-3, atol=1e-5)
    assert torch.equal(one["labels"], other["labels"])


def for_their_pixels(detector):
    """Arrays as detectron2 keeps them: under its own names, the deviation of the pixels left to the first layer."""
    weights = {name: tensor.numpy().copy() for name, tensor in detector.network.state_dict().items()}
    weights["backbone.bottom_up.stem.conv1.weight"] /= np.float32(detectron2_network.PIXEL_STD).reshape(1, 3, 1, 1)
    return weights


# Files ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("wrap", [dict, OrderedDict, lambda each: {"model": each, "__author__": "someone"}])
def test_arrays_of_a_pickle_are_read_as_they_were(tmp_path, protocol, wrap):
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps(wrap(ARRAYS), protocol))
    read = read_weights(path)
    assert read.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name].numpy(), array)
        assert read[name].numpy().dtype == array.dtype.newbyteorder("=")


def test_a_pickle_of_python_2_is_read(tmp_path):
    """Its text was bytes, and its NumPy had another name for the place of its functions."""
    old = (
        b"\x80\x02}U\x06weightcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x08" + np.array([1.5, -2.0], "<f4").tobytes() + b"tbs."
    )
    (tmp_path / "old.pkl").write_bytes(old)
    assert read_weights(tmp_path / "old.pkl")["weight"].tolist() == [1.5, -2.0]


class Call:
    """Pickles as a call of something."""

    def __init__(self, function, *arguments) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    ("function", "named"),
    [
        (os.system, r"(posix|nt)\.system"),
        (eval, r"(builtins|__builtin__)\.eval"),
        (getattr, r"(builtins|__builtin__)\.getattr"),
        (np.load, r"numpy\.load"),
        (torch.hub.load_state_dict_from_url, r"torch\.hub\.load_state_dict_from_url"),
    ],
)
def test_a_pickle_that_calls_something_is_refused_by_its_name(tmp_path, protocol, function, named):
    mark = tmp_path / "ran"
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"a": Call(function, f"touch {mark}"), **ARRAYS}, protocol))
    with pytest.raises(UserError, match=rf"evil\.pkl cannot be read: it names {named}, which is no part of an array"):
        read_weights(path)
    path.with_suffix(".pth").write_bytes(pickle.dumps({"a": Call(function, f"touch {mark}")}, 2))
    with pytest.raises(UserError, match="is damaged or holds more than tensors"):
        read_weights(path.with_suffix(".pth"))
    torch.save({"a": Call(function, f"touch {mark}")}, path.with_suffix(".pt"))
    with pytest.raises(UserError, match="is damaged or holds more than tensors"):
        read_weights(path.with_suffix(".pt"))
    assert not mark.exists()


def test_what_a_name_leads_to_is_refused_too(tmp_path):
    """`numpy.ndarray.__class__` and the like: a name with dots walks through attributes in newer protocols."""
    path = tmp_path / "evil.pkl"
    for place, name in (
        ("numpy", "ndarray.__class__"),
        ("collections", "OrderedDict.__init__.__globals__"),
        ("_codecs", "lookup"),
    ):
        parts = b"".join(b"\x8c" + bytes([len(each)]) + each.encode() for each in (place, name))
        path.write_bytes(b"\x80\x04}\x8c\x01a" + parts + b"\x93s.")
        with pytest.raises(UserError, match=f"it names {place}.{name}, which"):
            read_weights(path)


def test_codecs_that_do_more_than_encode_are_refused(tmp_path):
    import _codecs

    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"a": Call(_codecs.encode, "text", "rot13")}))
    with pytest.raises(UserError, match="it holds text in 'rot13'"):
        read_weights(tmp_path / "x.pkl")


def test_arrays_of_objects_are_refused(tmp_path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"a": np.array([{}, "b"], object)}))
    with pytest.raises(UserError, match="it holds arrays of 'O8', which are no numbers"):
        read_weights(tmp_path / "x.pkl")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_that_was_cut_short_is_refused(tmp_path, protocol):
    whole = pickle.dumps(ARRAYS, protocol)
    for length in range(0, len(whole), 7):
        (tmp_path / "torn.pkl").write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"torn\.pkl cannot be read"):
            read_weights(tmp_path / "torn.pkl")


@given(st.data())
def test_a_pickle_with_changed_bytes_is_read_or_refused(data):
    whole = bytearray(pickle.dumps(ARRAYS, data.draw(st.sampled_from([0, 2, 4, 5]))))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        whole[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(pickle.UnpicklingError):
        array_pickle.load(bytes(whole))


@pytest.mark.parametrize(
    "claim",
    [
        b"\x80\x04}r\x00\x00\x00\x04.",  # a memo of 67 million entries
        b"\x80\x05\x96\x00\x00\x00\x00\x00\x01\x00\x00.",  # bytes by the terabyte
        b"\x80\x04\x8e\x00\x00\x00\x00\x00\x01\x00\x00.",
        b"\x80\x04\x95\x00\x00\x00\x00\x00\x01\x00\x00}.",  # a frame
    ],
)
def test_claims_larger_than_the_file_cost_nothing(tmp_path, claim):
    import resource

    (tmp_path / "huge.pkl").write_bytes(claim)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"huge\.pkl cannot be read"):
        read_weights(tmp_path / "huge.pkl")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_an_array_larger_than_its_bytes_is_refused(tmp_path):
    whole = pickle.dumps({"a": np.zeros(5, np.float32)}, 4)
    (code,) = [place for code, value, place in pickletools.genops(whole) if code.name == "BININT1" and value == 5]
    (tmp_path / "x.pkl").write_bytes(whole[: code + 1] + b"\xc8" + whole[code + 2 :])
    with pytest.raises(UserError, match="cannot reshape array of size 5"):
        read_weights(tmp_path / "x.pkl")


def test_many_arrays_of_the_same_bytes_are_refused(tmp_path):
    class Shared:
        """An array whose bytes are a shared object, so that the pickle holds them once."""

        def __reduce__(self):
            kind = np.dtype(np.float32)
            state = (1, (2500,), kind, False, CONTENT)
            return np.zeros(0).__reduce__()[0], (np.ndarray, (0,), b"b"), state

    CONTENT = bytes(10_000)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({str(each): Shared() for each in range(1000)}, 4))
    with pytest.raises(UserError, match="its arrays claim more than the file holds"):
        read_weights(tmp_path / "x.pkl")


def test_what_is_no_file_of_weights_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"R-50\.pkl, which is not a file; nothing is downloaded"):
        read_weights(tmp_path / "detectron2://ImageNetPretrained/MSRA/R-50.pkl")
    for name, content, reason in (
        ("a.onnx", b"", "weights are read from .safetensors, .pth, .pt, .pkl files"),
        ("a.safetensors", b"nonsense", "cannot be read"),
        ("a.pth", b"nonsense", "is damaged or holds more than tensors"),
        ("a.pkl", pickle.dumps([1, 2]), "holds no tensors by name"),
        ("b.pkl", pickle.dumps({"a": 1.5}), "holds other things than tensors by name: 'a'"),
        ("c.pkl", pickle.dumps({1: np.zeros(2)}), "holds other things than tensors by name: 1"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=reason):
            read_weights(tmp_path / name)


def test_pytorchs_files_are_read_with_or_without_the_rest_of_a_checkpoint(tmp_path):
    tensors = {"a": torch.arange(3.0), "b": torch.tensor(4)}
    for name, content in (("a.pth", tensors), ("a.pt", {"model": tensors, "optimizer": {"lr": 0.1}, "iteration": 5})):
        torch.save(content, tmp_path / name)
        read = read_weights(tmp_path / name)
        assert all(torch.equal(read[key], tensors[key]) for key in tensors)
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    assert read_weights(tmp_path / "a.safetensors").keys() == tensors.keys()


# Networks -------------------------------------------------------------------------------------------------------------


def test_torchvisions_network_takes_its_own_names_and_a_new_head(tmp_path):
    trained = network(5, backend="torchvision")
    for content in (trained.state_dict(), trained.network.state_dict()):
        torch.save(content, tmp_path / "a.pth")
        same = network(5, seed=1, backend="torchvision")
        assert load(same, read_weights(tmp_path / "a.pth"), tmp_path / "a.pth") == []
        assert all(torch.equal(tensor, trained.state_dict()[name]) for name, tensor in same.state_dict().items())
    other = network(2, seed=1, backend="torchvision")
    fresh = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    (message,) = load(other, read_weights(tmp_path / "a.pth"), tmp_path / "a.pth")
    assert "knows 5 classes, this network has 2" in message
    for name, tensor in other.state_dict().items():
        expected = fresh if "box_predictor" in name else trained.state_dict()
        assert torch.equal(tensor, expected[name])


def test_weights_that_do_not_fit_are_refused(tmp_path):
    path, target = tmp_path / "a.pth", network(backend="torchvision")
    whole, bias = target.state_dict(), "network.rpn.head.cls_logits.bias"
    for changes, reason in (
        ({bias: None}, r"1 tensors missing \['network\.rpn\.head\.cls_logits\.bias'\]"),
        ({"network.more": torch.zeros(2)}, r"0 tensors missing \[\], 1 unknown \['network\.more'\]"),
        ({bias: torch.zeros(2)}, r"1 tensors of another shape"),
        (
            {"network.rpn.head.cls_logits.bias": torch.full((3,), torch.nan)},
            "1 tensors hold values that are no numbers",
        ),
        ({"network.roi_heads.box_predictor.cls_score.weight": torch.zeros(())}, "1 tensors of another shape"),
        ({"network.more": torch.zeros(1).expand(1 << 40)}, "1 unknown"),
    ):
        changed = {name: tensor for name, tensor in (whole | changes).items() if tensor is not None}
        with pytest.raises(UserError, match=reason):
            load(target, changed, path)


def test_without_detectron2_one_line_says_so(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "detectron2"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "detectron2", None)
    with pytest.raises(UserError, match=r"detectron2 cannot be imported \(.*docs/detection\.md") as raised:
        network()
    assert "\n" not in str(raised.value)


@pytest.mark.detectron2
@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
def test_detectron2s_own_weights_give_what_they_gave_there(tmp_path, norm, detectron2):
    """There the deviation of the pixels is 1."""
    trained = network(norm=norm)
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"model": for_their_pixels(trained), "__author__": "someone"}))
    same = network(norm=norm, seed=1)
    assert load(same, read_weights(path), path) == []
    assert_same(detections(same), detections(trained))
    theirs = {name: torch.from_numpy(array) for name, array in for_their_pixels(trained).items()}
    trained.network.load_state_dict(theirs)
    trained.network.pixel_std.fill_(1)
    assert_same(detections(same), detections(trained))


@pytest.mark.detectron2
def test_a_file_that_states_its_pixels_is_believed(detectron2, tmp_path):
    trained = network()
    weights = {name: tensor.clone() for name, tensor in trained.network.state_dict().items()}
    stated = {"pixel_mean": trained.network.pixel_mean, "pixel_std": trained.network.pixel_std}
    cells = {"proposal_generator.anchor_generator.cell_anchors.0": torch.zeros(3, 4)}
    same = network(seed=1)
    assert load(same, weights | stated | cells, tmp_path) == []
    assert_same(detections(same), detections(trained))
    red_first = stated | {"pixel_mean": stated["pixel_mean"].flip(0)}
    with pytest.raises(UserError, match="is for pixels other than blue, green, red"):
        load(same, weights | red_first, tmp_path)


@pytest.mark.detectron2
def test_a_models_own_file_is_taken_as_it_is(detectron2, tmp_path):
    trained = network()
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file({name: each.contiguous() for name, each in trained.state_dict().items()}, path)
    same = network(seed=1)
    assert load(same, read_weights(path), path) == []
    assert all(torch.equal(tensor, trained.state_dict()[name]) for name, tensor in same.state_dict().items())


@pytest.mark.detectron2
def test_another_number_of_classes_gets_a_new_head(detectron2, tmp_path):
    trained, other = network(80), network(3, seed=1)
    fresh = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    (message,) = load(other, trained.state_dict(), tmp_path / "coco.pkl")
    assert message.endswith("coco.pkl knows 80 classes, this network has 3: its last layer starts from random numbers")
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, (fresh if "box_predictor" in name else trained.state_dict())[name])


@pytest.mark.detectron2
def test_weights_of_a_batch_norm_fit_a_frozen_one_and_back(detectron2, tmp_path):
    trained = network(norm="batch")
    for module in trained.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    frozen, back = network(norm="frozen", seed=1), network(norm="batch", seed=2)
    assert load(frozen, trained.state_dict(), tmp_path) == []
    assert load(back, frozen.state_dict(), tmp_path) == []
    assert_same(detections(frozen), detections(trained))
    assert_same(detections(back), detections(trained))


CAFFE2 = (  # the reverse of what detectron2 converts
    ("backbone.bottom_up.stem.conv1.norm", "res_conv1_bn"),
    ("backbone.bottom_up.stem.", ""),
    ("backbone.bottom_up.", ""),
    ("backbone.fpn_lateral3", "fpn_inner_res3_3_sum_lateral"),
    ("backbone.fpn_lateral4", "fpn_inner_res4_5_sum_lateral"),
    ("backbone.fpn_output3", "fpn_res3_3_sum"),
    ("backbone.fpn_output4", "fpn_res4_5_sum"),
    ("proposal_generator.rpn_head.conv", "conv_rpn_fpn2"),
    ("proposal_generator.rpn_head.objectness_logits", "rpn_cls_logits_fpn2"),
    ("proposal_generator.rpn_head.anchor_deltas", "rpn_bbox_pred_fpn2"),
    ("roi_heads.box_head.fc1", "fc6"),
    ("roi_heads.box_head.fc2", "fc7"),
    ("roi_heads.box_predictor.", ""),
    (".shortcut.norm", ".branch1_bn"),
    (".conv1.norm", ".branch2a_bn"),
    (".conv2.norm", ".branch2b_bn"),
    (".shortcut", ".branch1"),
    (".weight", "_w"),
    (".bias", "_b"),
)


def as_caffe2(detector):
    """Blobs of the first Detectron: background first, no statistics of norm layers."""
    blobs = {}
    for name, array in for_their_pixels(detector).items():
        if "running_" in name or "num_batches" in name:
            continue
        if "box_predictor.cls_score" in name:
            array = np.concatenate([array[-1:], array[:-1]])
        elif "box_predictor.bbox_pred" in name:
            array = np.concatenate([np.zeros_like(array[:4]), array])
        for ours, theirs in CAFFE2:
            name = name.replace(ours, theirs)
        name = name.replace("_bn_w", "_bn_s")
        if name.startswith("res") and not name.startswith("res_conv1"):
            name = name.replace(".conv1_", ".branch2a_").replace(".conv2_", ".branch2b_")
        blobs[name.replace(".", "_")] = array
    return blobs


@pytest.mark.detectron2
def test_caffe2s_blobs_are_converted(detectron2, tmp_path, caplog):
    trained, path = network(), tmp_path / "caffe2.pkl"
    blobs = as_caffe2(trained)
    assert {"conv1_w", "res_conv1_bn_s", "res2_0_branch2a_w", "res3_0_branch1_bn_b", "fc6_w", "cls_score_b"} <= set(
        blobs
    )
    path.write_bytes(pickle.dumps({"blobs": blobs | {"fc6_w_momentum": np.zeros(3)}}, 2))
    same = network(seed=1)
    assert load(same, read_weights(path), path) == []
    assert_same(detections(same), detections(trained))
    (message,) = load(network(7), read_weights(path), path)
    assert "knows 3 classes, this network has 7" in message
    assert caplog.messages == []


@pytest.mark.detectron2
def test_an_encoder_alone_is_said(detectron2, tmp_path):
    trained, path = network(), tmp_path / "R-18.pkl"
    blobs = {name: blob for name, blob in as_caffe2(trained).items() if name.startswith(("res", "conv1_"))}
    path.write_bytes(pickle.dumps(blobs | {"fc1000_w": np.zeros((1000, 256)), "fc1000_b": np.zeros(1000)}, 2))
    other = network(seed=1)
    fresh = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    (message,) = load(other, read_weights(path), path)
    assert message.endswith("R-18.pkl holds an encoder alone: the rest of the network starts from random numbers")
    for name, tensor in other.state_dict().items():
        expected = trained.state_dict() if ".bottom_up." in name else fresh
        torch.testing.assert_close(tensor, expected[name])
    path.write_bytes(pickle.dumps({name: blob for name, blob in blobs.items() if name != "res3_0_branch1_w"}, 2))
    with pytest.raises(UserError, match=r"1 tensors missing \['network\.backbone\.bottom_up\.res3\.0\.shortcut"):
        load(other, read_weights(path), path)


@pytest.mark.detectron2
def test_weights_go_through_the_settings(detectron2, tmp_path, caplog):
    trained, path = network(80), tmp_path / "coco.pth"
    torch.save({"model": trained.network.state_dict(), "iteration": 9}, path)
    settings = Model(backend="detectron2", **SIZES, weights=str(path))
    assert model.initialise(model.build(settings, 2), settings) == [path]
    assert "knows 80 classes, this network has 2" in caplog.text
