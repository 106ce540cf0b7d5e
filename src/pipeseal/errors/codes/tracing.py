"""Codes of traces."""

from pipeseal.errors.codes.row import Code

ROWS: tuple[Code, ...] = (
    Code(
        "tracing.missing",
        "traces without their packages",
        "Traces were asked for, and the packages of OpenTelemetry that send them are not installed.",
        ("Pipeseal was installed without its `tracing` part",),
        "Install them with `pip install 'pipeseal[tracing]'`, or leave tracing off.",
    ),
    Code(
        "tracing.settings",
        "traces that cannot be sent so",
        "The standard variables of OpenTelemetry (`OTEL_...`) ask for another protocol than OTLP over HTTP, or hold "
        "an address or a number that cannot be one.",
        (
            "the variables were written for a program that sends gRPC to port 4317",
            "the endpoint was written without `http://`",
            "the size of a batch is above that of the queue",
        ),
        "Set OTEL_EXPORTER_OTLP_ENDPOINT to the collector's address, such as http://collector.example.org:4318, and "
        "OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf or nothing.",
    ),
    Code(
        "tracing.parent",
        "no place in a trace",
        "A `traceparent` is not of the form that W3C Trace Context gives version 00: two ids in lower-case "
        "hexadecimal digits, and flags. It was dropped, and a new trace begun.",
        (
            "a proxy or client writes another version, or a form of its own",
            "a control plane tries what it can put into a job's variables",
        ),
        "Nothing has to be done for the job; whoever sends the value has to send one of version 00.",
    ),
)
