"""Codes of reading text: pipelines, JSON, YAML, interpolation, matrices."""

from pipeseal.errors.codes.row import Code

ROWS: tuple[Code, ...] = (
    # --- input, yaml, json: can the text be read at all? -------------------------------------------------------
    Code(
        "input.too_large",
        "input too large",
        "The text is larger than what is read at once.",
        (
            "a generated file that grew beyond all measure",
            "the wrong file was given, such as a log or an archive",
            "somebody tries to exhaust memory",
        ),
        "Give the right file, or split the pipeline into several uploads.",
    ),
    Code(
        "input.too_deep",
        "nested too deep",
        "Mappings and lists are nested deeper than anything that is meant to be read.",
        (
            "a generator that wraps a value again and again",
            "an alias that repeats a deep value inside itself",
            "somebody tries to exhaust the stack",
        ),
        "Make the value flatter.",
    ),
    Code(
        "input.too_many_values",
        "too many values",
        "Once aliases are expanded, there are more values than are read at once.",
        (
            "aliases of aliases, which multiply",
            "a generated file with very many small values",
            "an alias bomb: a few hundred bytes that expand to gigabytes",
        ),
        "Use fewer aliases inside aliases, or split the pipeline into several uploads.",
    ),
    Code(
        "yaml.empty",
        "no document",
        "The text holds no YAML document at all.",
        (
            "an empty file, or one with comments only",
            "the command whose output was piped in printed nothing",
        ),
        "Look at what was given: `cat FILE`, or run the generating command alone.",
    ),
    Code(
        "yaml.encoding",
        "character not allowed",
        "The bytes are not UTF-8, or there is a character that YAML does not allow unescaped.",
        (
            "the file was saved in another encoding, such as Latin-1",
            "a control character came in by copy and paste",
            "a binary file was given",
        ),
        'Save the file as UTF-8. In double quotes, write control characters as escapes: `"\\x1b"`.',
    ),
    Code(
        "yaml.syntax",
        "not YAML",
        "The text is not YAML in the dialect that pipelines are written in.",
        (
            "indentation is off, or a quote or bracket is not closed",
            "text that begins with a special character (`*`, `@`, `%`, `{`) is not quoted",
            "a tab is used to indent",
            "`%YAML 1.2` or the escape `\\/`, which this dialect does not have",
        ),
        "Correct the line that is shown; quote text that holds special characters.",
    ),
    Code(
        "yaml.tag",
        "tag does not fit",
        "A tag says what a value is, and the value is not that.",
        (
            "`!!bool yes`: only spellings of true and false are booleans",
            "`!!int` before a number with a fraction",
            "`!!binary` before something that is not base64",
        ),
        "Remove the tag, or write a value that fits it.",
    ),
    Code(
        "yaml.key",
        "not usable as a key",
        "The key of a mapping is null, a mapping or a list.",
        (
            "a key was left out in front of the colon",
            "`~` or `null` is meant as text and is not quoted",
            "`{{matrix}}` is used as a key and is not quoted",
        ),
        "Quote the key.",
    ),
    Code(
        "yaml.merge",
        "nothing to merge",
        "`<<` stands before something that is not a mapping.",
        (
            "the alias behind `<<` is of a list or of text",
            "the value behind `<<` was left out",
        ),
        "Merge a mapping, an alias of one, or a list of these.",
    ),
    Code(
        "yaml.alias",
        "alias without end or beginning",
        "An alias names an anchor that does not stand before it, or one around it.",
        (
            "the anchor is misspelled, or stands further down",
            "text that begins with `*` is not quoted",
            "a value holds itself",
        ),
        "Set the anchor (`&name`) before its first alias (`*name`), or quote the text.",
    ),
    Code(
        "json.syntax",
        "not JSON",
        "The text is not JSON.",
        (
            "it was cut off on the way",
            "it was written by hand: a comma too many, single quotes, a comment",
            "it is YAML or something else altogether",
        ),
        "Correct the place that is shown.",
    ),
    Code(
        "json.duplicate",
        "member given twice",
        "A JSON object gives a member twice, so that two readers can read two different things.",
        (
            "a generator that writes members without looking",
            "somebody wants the verifier to read another value than the runner",
        ),
        "Send each member once.",
    ),
    Code(
        "number.range",
        "number too large",
        "A number is larger than any double.",
        (
            "a number that is an identifier and should be text",
            "a typing error in an exponent",
        ),
        "Quote it, so that it is text.",
    ),
    Code(
        "value.unwritable",
        "value cannot be written",
        "A value can be read from YAML, and JSON has no way to write it.",
        (
            "`.inf` or `.nan` stands without quotes",
            "a date has a zone of 24 hours",
        ),
        "Quote it, so that it is text.",
    ),
    # --- pipeline: does the text say a pipeline? --------------------------------------------------------------
    Code(
        "pipeline.malformed",
        "not a pipeline",
        "The text is YAML, and it is not a pipeline: something at its top level, or a step as a whole, has a form "
        "that means nothing.",
        (
            "`steps` is not a list, or `env` is not a mapping",
            "a step is a number, null or a list, often through indentation",
            "the file is some other YAML file",
        ),
        "Correct the place that is shown.",
    ),
    Code(
        "step.malformed",
        "not a command step",
        "The step that came with a job cannot be read as a command step.",
        (
            "the control plane sends a form this version does not know",
            "the step was changed on the way",
        ),
        "Compare the job with the step in the pipeline; update the agent if the form is new.",
    ),
    Code(
        "interpolation.syntax",
        "variable not understood",
        "A `$` begins something that is not one of the known forms of variables.",
        (
            "the text is meant for the shell, and its `$` is not escaped",
            "a form that other shells know, such as `${NAME:?text}` or `${NAME#prefix}`",
            "a brace is not closed",
        ),
        "Write `$$` for a dollar sign that is meant for the shell, or upload with `--no-interpolation`.",
    ),
    Code(
        "interpolation.unset",
        "required variable not set",
        "A variable is required with `${NAME?message}`, and it is not set.",
        (
            "the variable is set for other builds only, such as pull requests",
            "its name is misspelled",
        ),
        "Set it, or give it a default: `${NAME:-word}`.",
    ),
    # --- matrix: is this combination one of the step's? -------------------------------------------------------
    Code(
        "matrix.permutation",
        "combination not in the matrix",
        "The job's matrix values are not a combination that the step's matrix allows.",
        (
            "the control plane expands matrices in a way this version does not know",
            "the values were changed on the way",
        ),
        "Compare the job's values with the step's `matrix`.",
    ),
    Code(
        "matrix.adjustment",
        "adjustment malformed",
        "An adjustment of the matrix does not have the matrix's dimensions, so no combination can be judged.",
        (
            "a dimension was renamed in `setup` and not in `adjustments`",
            "an adjustment was left empty",
        ),
        "Give every adjustment a `with` that names each dimension once.",
    ),
    Code(
        "matrix.skipped",
        "combination skipped",
        "The matrix skips this combination, and there is a job for it all the same.",
        (
            "`skip` has a value that looks like no: everything but false and null skips, `0` and empty text too",
            "the control plane took `skip` away before it made the jobs",
        ),
        "Write `skip: false`, or leave it out, for combinations that are to run.",
    ),
    Code(
        "matrix.token",
        "unknown matrix token",
        "A `{{matrix...}}` in the step names a dimension that the matrix does not have.",
        (
            "the dimension is misspelled or was renamed",
            "`{{matrix}}` alone is used with a matrix whose dimensions have names",
        ),
        "Use the names under `setup`; quotes do not protect a token.",
    ),
)
