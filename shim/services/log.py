"""log.v1.LogService: a guest's records in the unified log. The contract is schemas/log/v1/log.proto."""

from collections.abc import Callable, Mapping

from shim.calls import Call
from shim.logbook import Logbook, Rate
from shim.messages import Code, Failure

SERVICE = "log.v1.LogService"


def handlers(logbook: Logbook, rates: Mapping[str, Rate]) -> Mapping[str, Callable[[Call], bytes]]:
    """The service's methods; `rates` bounds what each guest may log."""

    def log(call: Call) -> bytes:
        # Not before there is a record to make: protobuf takes 40 ms of a node's start.
        from google.protobuf.message import DecodeError  # noqa: PLC0415

        from shim.services._pb import log_pb2  # noqa: PLC0415

        try:
            request = log_pb2.LogRequest.FromString(call.request)
        except DecodeError as error:
            raise Failure(Code.INVALID_ARGUMENT, f"{SERVICE}/Log: {error}") from error
        rate = rates[call.caller]
        if not rate.admits():
            return b""
        work, _, number = call.id.rpartition(".")
        parent = work.rpartition(".")[0] if number else ""
        levels = {log_pb2.LEVEL_DEBUG: "debug", log_pb2.LEVEL_WARN: "warn", log_pb2.LEVEL_ERROR: "error"}
        level = levels.get(request.level, "info")
        logbook.record(
            call.caller, request.text, level=level, call=work, parent=parent, fields={**request.fields, **rate.told()}
        )
        return b""  # LogResponse has no fields

    return {"Log": log}
