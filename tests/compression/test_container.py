"""`.mrz` files come back whole, stay the same from version to version, and damage to them is found."""

from __future__ import annotations

import contextlib
import io
import math
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mrz_files import FINGERPRINT, Content, edge, found_in, header_of, plain, sealed, three_bands, two_bands

from millrace.compression.container import Damage, Reader, info, write
from millrace.compression.header import DTYPES, VALUES, Header, pack_head
from millrace.compression.packing import deflate
from millrace.errors import UserError

GOLDEN = Path(__file__).parent / "golden"
CONTENTS = {"plain": plain, "two_bands": two_bands, "three_bands": three_bands}
LIMIT_BYTES = 2_000_000


def opened(data: bytes, **options: int) -> Reader:
    return Reader(io.BytesIO(data), **options)


def assert_holds(reader: Reader, content: Content) -> None:
    payloads, masks = found_in(reader)
    assert reader.damaged == []
    assert reader.extra_bytes == 0
    assert reader.header == content.header
    assert payloads == content.payloads
    side = reader.header.block_px
    for band, blocks in enumerate(masks):
        whole = np.ones((reader.header.height, reader.header.width), bool)
        if content.masks:
            whole = content.masks[band if len(content.masks) > 1 else 0]
        for block, mask in enumerate(blocks):
            row, column = divmod(block, reader.header.grid[1])
            assert np.array_equal(mask, whole[side * row :, side * column :][:side, :side])


FLOAT32 = st.floats(-(2.0**100), 2.0**100, width=32)
NODATA = {
    "uint8": st.integers(0, 255),
    "int16": st.integers(-(2**15), 2**15 - 1),
    "uint16": st.integers(0, 2**16 - 1),
    "float32": st.floats(width=32, allow_nan=False) | st.just(math.nan),
    "float64": st.floats(allow_nan=False) | st.just(math.nan),
}
# File names that are no UTF-8 reach Python as lone surrogates.
UNICODE = st.characters(exclude_categories=())
JSON = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(UNICODE),
        lambda item: st.lists(item, max_size=3) | st.dictionaries(st.text(max_size=5), item, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)


@st.composite
def contents(draw) -> Content:
    dtype = draw(st.sampled_from(DTYPES))
    ranges = st.tuples(FLOAT32, FLOAT32).filter(lambda ends: ends[0] != ends[1]).map(sorted).map(tuple)
    header = Header(
        width=draw(st.integers(1, 60)),
        height=draw(st.integers(1, 60)),
        dtype=dtype,
        values=draw(st.sampled_from(VALUES)),
        ranges=tuple(draw(st.lists(ranges, min_size=1, max_size=4))),
        step=draw(st.floats(2.0**-100, 2.0**100, width=32)),
        fingerprint=draw(st.binary(min_size=8, max_size=8)),
        block_px=draw(st.sampled_from([16, 32, 48, 2048])),
        nodata=draw(st.none() | NODATA[dtype]),
        metadata=draw(JSON),
    )
    blocks = math.prod(header.grid)
    payloads = draw(
        st.lists(
            st.lists(st.binary(max_size=200), min_size=blocks, max_size=blocks),
            min_size=header.bands,
            max_size=header.bands,
        )
    )
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    kinds = draw(st.lists(st.sampled_from(["valid", "edge", "noise", "invalid"]), max_size=header.bands))
    kinds = kinds if len(kinds) in (1, header.bands) else []
    shape = header.height, header.width
    masks = {
        "valid": np.ones(shape, bool),
        "edge": edge(*shape, 0.3),
        "noise": rng.random(shape) < 0.9,
        "invalid": np.zeros(shape, bool),
    }
    return Content(header, payloads, [masks[kind] for kind in kinds])


@given(contents())
def test_whatever_is_written_comes_back(content):
    assert_holds(opened(content.as_bytes()), content)


@pytest.mark.parametrize("name", CONTENTS)
def test_golden_files_are_still_read(name):
    with Reader(GOLDEN / f"{name}.mrz") as reader:
        assert_holds(reader, CONTENTS[name]())


@pytest.mark.skipif("ng" in zlib.ZLIB_RUNTIME_VERSION, reason="zlib-ng deflates the same content to other bytes")
@pytest.mark.parametrize("name", CONTENTS)
def test_golden_files_are_still_written(name):
    assert CONTENTS[name]().as_bytes() == (GOLDEN / f"{name}.mrz").read_bytes()


def test_the_bytes_are_those_of_the_specification():
    head = (
        bytes([0b00_0_00_000])  # no mask, no nodata, amplitude, uint8
        + bytes([32, 0xE0, 1, 0xC8, 1, 1])  # blocks of 32 x 16 px, 224 columns, 200 rows, 1 band
        + FINGERPRINT
        + struct.pack("<fff", 1.0, 14.7688, 24.5407)
        + bytes([7])  # a block of 7 bytes
    )
    start = b"\x8dMRZ\1" + bytes([len(head)]) + head
    file = start + struct.pack("<I", zlib.crc32(start)) + b"seven.." + struct.pack("<I", zlib.crc32(b"seven.."))
    assert plain().as_bytes() == file

    head = (
        bytes([0b01_1_00_010])  # one mask for all bands, nodata, amplitude, uint16
        + bytes([1, 25, 20, 2])
        + FINGERPRINT
        + struct.pack("<fffffH", 1.0, -25.0, 5.0, -30.0, 0.1, 0)
        + bytes([*map(len, two_bands().mask_chunks()[0]), 5, 6, 0, 1, 30, 1, 0, 7])
    )
    written = two_bands().as_bytes()
    assert written[6 : 6 + len(head)] == head
    metadata = zlib.decompress(written[6 + len(head) : 6 + written[5]], -15)
    assert metadata == b'{"crs":"EPSG:32630","transform":[10.0,0.0,399960.0,0.0,-10.0,4500000.0]}'


def test_overhead_is_small():
    header = header_of(width=224, height=224)
    assert write(io.BytesIO(), header, [[bytes(900)]]) - 900 == 43
    scene = header_of(width=224 * 512, height=224 * 512)
    size = write(io.BytesIO(), scene, [[bytes(900)] * 224**2])
    assert size - 900 * 224**2 <= 50 + 6 * 224**2


def test_masks_that_say_nothing_are_not_stored():
    content = two_bands()
    without = Content(content.header, content.payloads).as_bytes()
    assert Content(content.header, content.payloads, [np.ones((20, 25), bool)] * 2).as_bytes() == without
    one = Content(content.header, content.payloads, content.masks[:1]).as_bytes()
    assert content.as_bytes() == one
    assert opened(one).mask_planes == 1
    assert opened(three_bands().as_bytes()).mask_planes == 3


def test_numbers_are_those_of_the_file_before_it_is_written():
    header = header_of(dtype="float32", ranges=((0.1, 0.7),), step=0.3, nodata=-3.4e38)
    assert header.ranges == ((float(np.float32(0.1)), float(np.float32(0.7))),)
    assert header.step == float(np.float32(0.3))
    assert header.nodata == float(np.float32(-3.4e38))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"width": 0}, "no image"),
        ({"ranges": ()}, "0 bands"),
        ({"ranges": ((0.0, 1.0),) * 65_536}, "65536 bands"),
        ({"ranges": ((0.0, 1.0), (1.0, 1.0))}, "band 2 has the range 1 to 1"),
        ({"ranges": ((1.0, 1.0 + 1e-9),)}, "band 1"),
        ({"ranges": ((math.nan, 1.0),)}, "finite"),
        ({"ranges": ((0.0, math.inf),)}, "finite"),
        ({"ranges": ((0.0, 1e39),)}, "1e\\+39 is no value of float32"),
        ({"step": 0.0}, "step 0"),
        ({"step": 1e-60}, "step 0"),
        ({"step": math.nan}, "step nan"),
        ({"fingerprint": b"short"}, "5 bytes"),
        ({"block_px": 24}, "block_px 24"),
        ({"block_px": 0}, "block_px 0"),
        ({"block_px": 4096}, "block_px 4096"),
        ({"block_px": 16, "width": 10**6, "height": 10**6}, "Make block_px larger"),
        ({"nodata": -9999}, "-9999 is no value of uint16"),
        ({"nodata": 0.5}, "0.5 is no value of uint16"),
        ({"nodata": math.nan}, "nan is no value of uint16"),
        ({"dtype": "float32", "nodata": -1.7e308}, "no value of float32"),
        ({"dtype": "int64"}, "amplitude as int64"),
    ],
)
def test_headers_out_of_their_limits_are_refused(fields, reason):
    with pytest.raises(UserError, match=reason):
        header_of(**fields)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"a": math.nan}, "cannot be stored as JSON"),
        ({"a": {1, 2}}, "cannot be stored as JSON"),
        ({"a": "x" * 4_200_000}, "at most 4194304"),
    ],
)
def test_metadata_that_cannot_be_stored_are_refused(metadata, reason):
    with pytest.raises(UserError, match=reason):
        write(io.BytesIO(), header_of(metadata=metadata), [[b""]])


def test_a_wrong_number_of_blocks_is_a_mistake_of_the_caller():
    header = header_of(width=600)
    for payloads, masks in [([[b""]], []), ([[b"", b""]] * 2, []), ([[b"", b""]], [[b""]])]:
        with pytest.raises(ValueError, match="band"):
            write(io.BytesIO(), header, payloads, masks)
    reader = opened(two_bands().as_bytes())
    for place in [(2, 0, 0), (0, 2, 0), (0, 0, 2), (-1, 0, 0)]:
        with pytest.raises(IndexError):
            reader.payload(*place)
        with pytest.raises(IndexError):
            reader.mask(*place)


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "new" / ("x" * 250 + ".mrz")
    write(target, two_bands().header, two_bands().payloads)
    before = target.read_bytes()
    with pytest.raises(TypeError):
        write(target, plain().header, [["no bytes"]])  # type: ignore[list-item]  # that is the test
    assert target.read_bytes() == before
    assert list(target.parent.iterdir()) == [target]
    with pytest.raises(UserError, match=r"x.mrz cannot be written: \w+"):
        write(target / "x.mrz", plain().header, plain().payloads)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is no .mrz file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "is no .mrz file"),
        (plain().as_bytes().decode("latin-1").encode(), "transfer as text"),
        (plain().as_bytes().decode(errors="replace").encode(), "transfer as text"),
        (bytes(byte & 0x7F for byte in plain().as_bytes()), "transfer as text"),
        (sealed(b"what comes", version=2), "newer program: its format is 2, this one reads 1"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, data, reason):
    path = tmp_path / "scene.mrz"
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"scene.mrz.*{reason}"):
        Reader(path)


def test_a_file_that_cannot_be_opened_is_a_users_error(tmp_path):
    for path in (tmp_path, tmp_path / "none.mrz"):
        with pytest.raises(UserError, match="cannot be read: "):
            Reader(path)


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_cut_anywhere_loses_the_blocks_behind_the_cut_only(name):
    content = CONTENTS[name]()
    whole = content.as_bytes()
    reader = opened(whole)
    _, masks = found_in(reader)
    head_end = int(reader._starts[0, 0])
    for end in range(len(whole)):
        if end < head_end:
            with pytest.raises(UserError, match=r"no \.mrz file|header is damaged"):
                opened(whole[:end])
            continue
        reader = opened(whole[:end])
        assert reader.extra_bytes == end - len(whole)
        found, found_masks = found_in(reader)
        assert reader.damaged
        assert all("cut off" in damage.reason for damage in reader.damaged)
        lost = {(damage.band, damage.row, damage.column) for damage in reader.damaged if damage.part == "pixels"}
        for band, blocks in enumerate(found):
            for block, payload in enumerate(blocks):
                row, column = divmod(block, reader.header.grid[1])
                plane = reader.mask_planes + band
                size = int(reader._lengths[plane, block])
                held = not size or int(reader._starts[plane, block]) + size + 4 <= end
                assert payload == (content.payloads[band][block] if held else None)
                assert ((band, row, column) in lost) == (payload is None)
                mask = found_masks[band][block]
                assert mask is None or np.array_equal(mask, masks[band][block])
        opened(whole[:end]).check()


def assert_nothing_wrong_is_returned(data: bytes, content: Content, masks: list[list[np.ndarray]]) -> int:
    """Each block is as it was or is reported. Returns how many were reported; -1 where the file is refused."""
    try:
        reader = opened(data)
    except UserError:
        return -1
    found, found_masks = found_in(reader)
    assert reader.header == content.header
    for right, got in zip(content.payloads, found, strict=True):
        assert all(payload is None or payload == expected for payload, expected in zip(got, right, strict=True))
    for right, got in zip(masks, found_masks, strict=True):
        assert all(mask is None or np.array_equal(mask, expected) for mask, expected in zip(got, right, strict=True))
    lost = sum(payload is None for blocks in found for payload in blocks)
    assert lost == sum(damage.part == "pixels" for damage in reader.damaged)
    return len(reader.damaged)


@pytest.mark.parametrize(
    ("content", "changes"),
    [(plain(), range(1, 256)), (two_bands(), [1 << bit for bit in range(8)]), (three_bands(), [1, 0x80, 0xFF])],
)
def test_every_byte_that_changed_is_found(content, changes):
    whole = content.as_bytes()
    reader = opened(whole)
    _, masks = found_in(reader)
    head_end = int(reader._starts[0, 0])
    for place in range(len(whole)):
        for change in changes:
            damaged = bytearray(whole)
            damaged[place] ^= change
            lost = assert_nothing_wrong_is_returned(bytes(damaged), content, masks)
            assert lost == (-1 if place < head_end else 1)


@settings(max_examples=300)
@given(st.data())
def test_damage_of_many_bytes_is_found(data):
    content = data.draw(st.sampled_from([two_bands(), three_bands()]))
    whole = content.as_bytes()
    _, masks = found_in(opened(whole))
    damaged = bytearray(whole)
    first = data.draw(st.sampled_from([0, 90]))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(first, len(damaged)))
        removed = data.draw(st.integers(0, 20))
        damaged[place : place + removed] = data.draw(st.binary(max_size=20))
    assert_nothing_wrong_is_returned(bytes(damaged), content, masks)


def test_damage_is_told_in_words():
    whole = bytearray(two_bands().as_bytes())
    reader = opened(bytes(whole))
    whole[int(reader._starts[0, 0])] ^= 1
    whole[int(reader._starts[2, 1])] ^= 1
    reader = opened(bytes(whole))
    assert reader.mask(1, 0, 0) is None
    assert reader.mask(0, 0, 0) is None
    assert reader.payload(1, 0, 1) is None
    assert reader.payload(1, 0, 1) is None
    assert reader.payload(1, 0, 0) == two_bands().payloads[1][0]
    mask, pixels = reader.damaged
    assert mask == Damage("mask", None, 0, 0, "its checksum differs")
    assert str(mask) == "mask of all bands, block row 1, block column 1: its checksum differs"
    assert str(pixels) == "pixels of band 2, block row 1, block column 2: its checksum differs"
    assert opened(bytes(whole)).check() == [mask, pixels]


def test_a_mask_that_is_none_behind_its_checksum_is_damage():
    header = header_of()
    stream = io.BytesIO()
    write(stream, header, [[b"x"]], [[b"\7no mask"]])
    reader = opened(stream.getvalue())
    assert reader.mask(0, 0, 0) is None
    assert "unknown mode 7" in reader.damaged[0].reason
    assert reader.payload(0, 0, 0) == b"x"


def test_bytes_behind_the_end_are_told_and_do_no_harm():
    content = two_bands()
    reader = opened(content.as_bytes() + b"more")
    assert reader.extra_bytes == 4
    assert found_in(reader)[0] == content.payloads
    assert reader.damaged == []


VALID_HEAD = pack_head(two_bands().header, 1, np.array([[3, 0, 0, 9], [5, 6, 0, 1], [30, 1, 0, 7]]))
CODES, AFTER_SIZES = VALID_HEAD[:1], VALID_HEAD[5:]
WITHOUT_METADATA = VALID_HEAD[: 1 + 4 + 8 + 20 + 2 + 12]


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"", "it is empty"),
        (b"\7" + VALID_HEAD[1:], "unknown codes"),
        (b"\xc0" + VALID_HEAD[1:], "unknown codes"),
        (CODES + b"\x20" + b"\xc0\x84\x3d" * 2 + b"\1" + AFTER_SIZES, "claims 1000000 x 1000000 pixels in 1 band"),
        (CODES + b"\1" + b"\xff\xff\xff\xff\x7f" * 3 + AFTER_SIZES, "the limit is 4000000000 in all"),
        (CODES + b"\1\0\5\2" + AFTER_SIZES, "0 x 5 pixels are no image"),
        (CODES + b"\0\5\5\2" + AFTER_SIZES, "block_px 0"),
        (CODES + b"\xff\xff\xff\xff\x7f\5\5\2" + AFTER_SIZES, "block_px"),
        (CODES + b"\1\5\5\0" + AFTER_SIZES, "0 bands"),
        (CODES + b"\1\5\5\xff\xff\x03" + AFTER_SIZES, "claims 65535 bands"),
        (CODES + b"\1\x81\0\5\2" + AFTER_SIZES, "more bytes than it needs"),
        (VALID_HEAD[:1], "number is missing"),
        (VALID_HEAD[:30], "it is cut off"),
        (WITHOUT_METADATA[:-1], "table of blocks is cut off"),
        (CODES + b"\1\xff\x0f\xff\x0f\2" + AFTER_SIZES, "table of blocks is cut off"),
        (WITHOUT_METADATA[:-1] + b"\xff", "number is missing"),
        (VALID_HEAD[:13] + struct.pack("<f", math.nan) + VALID_HEAD[17:], "step nan"),
        (VALID_HEAD[:17] + struct.pack("<f", math.inf) + VALID_HEAD[21:], "band 1 has the range inf to 5"),
        (VALID_HEAD[:17] + struct.pack("<f", 5.0) + VALID_HEAD[21:], "band 1 has the range 5 to 5"),
        (WITHOUT_METADATA + b"x", "compressed part"),
        (VALID_HEAD + b"x", "does not end where it should"),
        (WITHOUT_METADATA + deflate(b"[1]"), "no JSON object"),
        (WITHOUT_METADATA + deflate(b"{"), "Expecting"),
        (WITHOUT_METADATA + deflate(b'{"a": NaN}'), "NaN, which is no number"),
        (WITHOUT_METADATA + deflate(b'{"a": 1e999}'), "1e999, which is no number"),
        (WITHOUT_METADATA + deflate(b'{"a": "\xff"}'), "decode"),
        (WITHOUT_METADATA + deflate(b'{"a": ' + b"[" * 100_000), "nested too deeply"),
        (WITHOUT_METADATA + deflate(b'{"a": ' + b"9" * 5_000), "digits"),
        (WITHOUT_METADATA + deflate(bytes(50_000_000)), "more than 4194304 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_impossible_headers_are_refused_before_anything_is_allocated(head, reason):
    data = sealed(head)
    tracemalloc.start()
    with pytest.raises(UserError, match=f"refused, its header is not valid: .*{reason}"):
        opened(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (LIMIT_BYTES if "4194304" not in reason else 10_000_000)


@pytest.mark.parametrize(("length", "size"), [(b"\xff\xff\xff\x0f", 100), (b"\x81\x80\x80\x10", 80_000_000)])
def test_headers_longer_than_the_file_or_the_limit_are_not_read(tmp_path, length, size):
    path = tmp_path / "scene.mrz"
    path.write_bytes(b"\x8dMRZ\1" + length)
    with path.open("r+b") as stream:
        stream.truncate(size)  # a hole takes no space
    tracemalloc.start()
    with pytest.raises(UserError, match="header is damaged"):
        Reader(path)
    assert tracemalloc.get_traced_memory()[1] < LIMIT_BYTES
    tracemalloc.stop()


@given(st.data())
def test_any_head_with_a_right_checksum_is_read_or_refused(data):
    head = bytearray(VALID_HEAD)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(head)))
        head[place : place + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
    tracemalloc.start()
    with contextlib.suppress(UserError):
        reader = opened(sealed(bytes(head), bytes(range(256))))
        if reader.header.pixels < 10_000:
            found_in(reader)
        reader.check()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < LIMIT_BYTES


def test_the_limit_of_pixels_counts_all_bands():
    data = two_bands().as_bytes()
    assert opened(data, max_pixels=1000).header.pixels == 1000
    with pytest.raises(UserError, match="the limit is 999 in all"):
        opened(data, max_pixels=999)


def test_only_what_is_asked_for_is_read(tmp_path):
    header = header_of(width=2048, height=2048)
    path = tmp_path / "large.mrz"
    write(path, header, [[bytes([block]) * 1_000_000 for block in range(16)]])
    tracemalloc.start()
    with Reader(path) as reader:
        assert reader.payload(0, 3, 1) == bytes([13]) * 1_000_000
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()


def test_info_lists_what_is_in_a_file(tmp_path):
    content = two_bands()
    whole = content.as_bytes()
    path = tmp_path / "scene.mrz"
    path.write_bytes(whole[:-1])
    found = info(path)
    assert found["file"] == str(path)
    assert (found["width"], found["height"], found["bands"]) == (25, 20, 2)
    assert (found["dtype"], found["values"], found["nodata"], found["masks"]) == ("uint16", "amplitude", 0, 1)
    assert found["ranges"] == [[-25, 5], [-30, float(np.float32(0.1))]]
    assert found["fingerprint"] == "0102030405060708"
    assert (found["block_px"], found["blocks"], found["step"]) == (16, 8, 1)
    assert found["pixel_bytes"] == sum(len(block) for blocks in content.payloads for block in blocks)
    assert found["mask_bytes"] == sum(map(len, content.mask_chunks()[0]))
    assert found["file_bytes"] == len(whole) - 1
    assert found["bits_per_pixel"] == 8 * (len(whole) - 1) / 1000
    assert found["ratio"] == 2000 / (len(whole) - 1)
    assert found["extra_bytes"] == -1
    assert found["damaged"] == ["pixels of band 2, block row 2, block column 2: the file is cut off before its end"]
    assert found["metadata"] == content.header.metadata


def test_a_stream_stays_open_and_a_path_does_not(tmp_path):
    stream = io.BytesIO(plain().as_bytes())
    with Reader(stream):
        pass
    assert not stream.closed
    path = tmp_path / "scene.mrz"
    path.write_bytes(stream.getvalue())
    with Reader(path) as reader:
        assert reader.payload(0, 0, 0) == b"seven.."
    with pytest.raises(ValueError, match="closed"):
        reader.payload(0, 0, 0)
