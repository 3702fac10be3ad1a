"""JSON on the wire: requests and replies made from one into the other by the descriptors of the app's .proto files."""

from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError

from shim.connect import NO_DESCRIPTOR
from shim.messages import Code, Failure, NodeError


class Transcoder:
    """For all services that the descriptors know."""

    def __init__(self, descriptors: str) -> None:
        """Raises NodeError: no such file, or no FileDescriptorSet."""
        self._pool = descriptor_pool.DescriptorPool()
        try:
            known = descriptor_pb2.FileDescriptorSet.FromString(Path(descriptors).read_bytes())
        except (OSError, DecodeError) as error:
            raise NodeError(f"{descriptors}: no descriptors of the app's .proto files: {error}: build again") from error
        for file in known.file:
            self._pool.Add(file)

    def to_proto(self, service: str, method: str, body: bytes) -> bytes:
        """A JSON request as protobuf bytes. Raises Failure: INVALID_ARGUMENT, UNIMPLEMENTED without a descriptor."""
        message = message_factory.GetMessageClass(self._method(service, method).input_type)()
        try:
            json_format.Parse(body.decode() or "{}", message, descriptor_pool=self._pool)
        except Exception as error:  # what the library raises beside its ParseError is not said anywhere
            raise Failure(Code.INVALID_ARGUMENT, f"{service}/{method}: {error}", executed=False) from error
        return message.SerializeToString()

    def to_json(self, service: str, method: str, body: bytes) -> bytes:
        """A reply's protobuf bytes as JSON. Raises Failure: INTERNAL when they are not what the descriptor says."""
        message = message_factory.GetMessageClass(self._method(service, method).output_type)()
        try:
            message.ParseFromString(body)
            return json_format.MessageToJson(message, indent=None, descriptor_pool=self._pool).encode()
        except Exception as error:  # as above
            text = f"{service}/{method}: the reply is not the message that its .proto says: {error}"
            raise Failure(Code.INTERNAL, text) from error

    def is_streaming(self, service: str, method: str) -> bool:
        """Whether the descriptors say `stream`; unknown methods do not."""
        try:
            found = self._method(service, method)
        except Failure:
            return False
        return bool(found.client_streaming or found.server_streaming)

    def has_no_side_effects(self, service: str, method: str) -> bool:
        """Whether the descriptors say `idempotency_level = NO_SIDE_EFFECTS`; of unknown methods they do not."""
        try:
            options = self._method(service, method).GetOptions()
        except Failure:
            return False
        return bool(options.idempotency_level == descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS)

    def _method(self, service: str, method: str) -> MethodDescriptor:
        try:
            return self._pool.FindServiceByName(service).methods_by_name[method]
        except KeyError:
            raise Failure(Code.UNIMPLEMENTED, f"{service}/{method}: {NO_DESCRIPTOR}", executed=False) from None
