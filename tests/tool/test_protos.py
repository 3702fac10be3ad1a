from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from parigot_oci.errors import GuestError, ManifestError
from parigot_oci.model import App, Declaration
from parigot_oci.protos import Protos, compile_protos
from tests.tool.apps import app

STORE = """\
syntax = "proto3";
package demo;
service Store {
  rpc Sell(SellRequest) returns (SellResponse);
  rpc Watch(SellRequest) returns (stream SellResponse);
}
message SellRequest { string title = 1; Money price = 2; map<string, Money> parts = 3; }
message SellResponse {}
message Money { int64 cents = 1; enum Coin { NONE = 0; DIME = 1; } Coin coin = 2; }
"""


def compiled(root: Path, **files: str) -> Protos:
    """Files by name, a double underscore for each slash; `protos` is the folder of all."""
    for name, text in files.items():
        path = root / "proto" / f"{name.replace('__', '/')}.proto"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return compile_protos(with_protos(root, root / "proto"))


def with_protos(root: Path, *protos: Path) -> App:
    return replace(app("store", file=root / "parigot.yaml"), protos=protos)


def sell(root: Path, text: str) -> str:
    root.mkdir()
    return compiled(root, store=text).hashed("demo.Store", "Sell")


def refusal(root: Path, **files: str) -> str:
    with pytest.raises(ManifestError) as caught:
        compiled(root, **files)
    return str(caught.value).replace(f"{root}/", "")


def test_the_builtins_are_known_without_any_protos(tmp_path: Path) -> None:
    protos = compile_protos(with_protos(tmp_path))
    assert list(protos.methods["file.v1.FileService"]) == ["Read", "Write", "Append", "List", "Delete"]
    assert [file.name for file in FileDescriptorSet.FromString(protos.descriptors).file] == [
        "file/v1/file.proto",
        "log/v1/log.proto",
    ]


def test_what_is_in_the_cache_is_not_compiled_again(tmp_path: Path) -> None:
    first = compiled(tmp_path, store=STORE)
    (cached,) = (tmp_path / ".parigot" / "cache").iterdir()
    known = cached.stat().st_mtime_ns
    assert compiled(tmp_path, store=STORE) == first
    assert cached.stat().st_mtime_ns == known
    compiled(tmp_path, store=STORE + "message More {}\n")
    assert len(list((tmp_path / ".parigot" / "cache").iterdir())) == 2


def test_the_hash_survives_comments_names_of_files_and_order(tmp_path: Path) -> None:
    fields = "int64 cents = 1; enum Coin { NONE = 0; DIME = 1; } Coin coin = 2;"
    shuffled = STORE.replace(fields, "Coin coin = 2; enum Coin { NONE = 0; DIME = 1; } int64 /* money */ cents = 1;")
    assert shuffled != STORE
    first = sell(tmp_path / "a", STORE)
    assert len(first) == 16
    assert sell(tmp_path / "b", shuffled) == first
    (tmp_path / "c").mkdir()
    assert compiled(tmp_path / "c", deep__other=STORE).hashed("demo.Store", "Sell") == first


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("int64 cents", "int32 cents"),
        ("int64 cents = 1", "int64 cents = 3"),
        ("DIME = 1", "DIME = 2"),
        ("string title", "optional string title"),
        ("SellResponse {}", "SellResponse { bool ok = 1; }"),
        ("map<string, Money>", "map<string, int32>"),
    ],
)
def test_the_hash_changes_with_a_type_that_is_reached(tmp_path: Path, old: str, new: str) -> None:
    assert sell(tmp_path / "a", STORE) != sell(tmp_path / "b", STORE.replace(old, new))


def test_the_hash_does_not_change_with_a_type_that_is_not_reached(tmp_path: Path) -> None:
    assert sell(tmp_path / "a", STORE) == sell(tmp_path / "b", STORE + "message Other { int32 a = 1; }\n")


def test_an_unknown_method_has_no_hash(tmp_path: Path) -> None:
    protos = compiled(tmp_path, store=STORE)
    assert protos.hashed("demo.Store", "Steal") == protos.hashed("demo.Shop", "Sell") == ""


def test_a_single_file_imports_from_its_folder_and_from_the_builtins(tmp_path: Path) -> None:
    (tmp_path / "money.proto").write_text('syntax = "proto3"; package money; message Money {}')
    (tmp_path / "shop.proto").write_text(
        'syntax = "proto3"; package shop; import "money.proto"; import "log/v1/log.proto";'
        'import "google/protobuf/timestamp.proto";'
        "message Bill { money.Money due = 1; log.v1.Level level = 2; google.protobuf.Timestamp at = 3; }"
    )
    protos = compile_protos(with_protos(tmp_path, tmp_path / "shop.proto"))
    names = [file.name for file in FileDescriptorSet.FromString(protos.descriptors).file]
    assert {"shop.proto", "money.proto", "google/protobuf/timestamp.proto"} < set(names)


def test_an_imported_file_that_changes_is_compiled_again(tmp_path: Path) -> None:
    money, shop = tmp_path / "money.proto", tmp_path / "shop.proto"
    money.write_text('syntax = "proto3"; message Money { int32 a = 1; }')
    shop.write_text('syntax = "proto3"; import "money.proto"; service Shop { rpc Buy(Money) returns (Money); }')
    before = compile_protos(with_protos(tmp_path, shop)).hashed("Shop", "Buy")
    money.write_text('syntax = "proto3"; message Money { int64 a = 1; }')
    assert compile_protos(with_protos(tmp_path, shop)).hashed("Shop", "Buy") != before


def test_errors_have_file_and_line_each(tmp_path: Path) -> None:
    text = refusal(tmp_path, a='syntax = "proto3";\nmessage A { Nope x = 1; }\n', b='syntax = "proto3";\nmessage {}\n')
    assert 'proto/a.proto:2: "Nope" is not defined.' in text
    assert "proto/b.proto:2: Expected message name." in text


def test_a_missing_import_is_an_error(tmp_path: Path) -> None:
    text = refusal(tmp_path, a='syntax = "proto3";\nimport "absent.proto";\n')
    assert "absent.proto" in text
    assert "not found" in text.lower()


def test_an_absent_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such"):
        compile_protos(with_protos(tmp_path, tmp_path / "absent"))


def test_a_stream_is_a_warning_and_an_error_where_it_is_bound(tmp_path: Path) -> None:
    protos = compiled(tmp_path, store=STORE)
    (warning,) = protos.warnings()
    assert (warning.what, warning.line) == ("demo.Store/Watch is a stream", 5)
    it = with_protos(tmp_path)
    protos.refuse(it, it.guests["store"], Declaration(exports={"demo.Store": ("Sell",), "x.X": ("Any",)}))
    with pytest.raises(GuestError) as caught:
        protos.refuse(it, it.guests["store"], Declaration(exports={"demo.Store": ("Watch", "Steal")}))
    assert "store binds demo.Store/Watch, which is a stream" in str(caught.value)
    assert "demo.Store/Steal, which the .proto files do not have" in str(caught.value)


def test_the_descriptors_are_the_same_bytes_in_every_place(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert compiled(tmp_path / "a", store=STORE).descriptors == compiled(tmp_path / "b", store=STORE).descriptors
