"""Codes of what starts and steers builds: conditions, branches, schedules, webhooks."""

from pipeseal.errors.codes.row import Code

ROWS: tuple[Code, ...] = (
    # --- condition: `if` of steps, notifications and webhooks -------------------------------------------------
    Code(
        "condition.malformed",
        "not a condition",
        "The text of an `if` cannot be read. The caret stands under the character where reading stopped.",
        (
            "`=`, `&`, `|`, `and` or `or` was written instead of `==`, `&&` or `||`",
            "quotes or parentheses are not closed, or a regular expression lacks its slashes",
            "YAML took a part of the text for its own (`!`, `#`, `:`); put the whole condition between quotes",
        ),
        'Write it as in `build.branch == "main" && build.message !~ /skip/i`; '
        "the operators are `==`, `!=`, `=~`, `!~`, `includes`, `&&`, `||` and `!`.",
    ),
    Code(
        "condition.pattern",
        "not a usable regular expression",
        "A regular expression in a condition cannot be read, or asks for something that has no quick way to match.",
        (
            "a parenthesis or bracket is not closed",
            "it has look-around elsewhere than straight after `^`, a back-reference, or a flag other than `i`",
        ),
        "Rewrite it; two conditions joined with `&&` and `!~` often say what a look-around would.",
    ),
    Code(
        "condition.unknown_name",
        "no such variable or function",
        "A condition names a variable or function that does not exist, or is not known where the condition stands.",
        (
            "a spelling mistake; the help line names the nearest one",
            "text without quotes",
            "`step.*` outside of notifications, or a `BUILDKITE_` variable that exists only inside a job",
        ),
        'Use a variable of the list in the reference, or `build.env("NAME")` for one of your own.',
    ),
    Code(
        "condition.type",
        "values that cannot be compared",
        "A condition compares or joins values of different kinds, is not true or false in the end, or compares a "
        "variable with a value it never has.",
        (
            'a number between quotes (`build.number == "42"`), or `=~` with a string instead of `/.../`',
            "a variable on its own, where `... != null` was meant",
            "a spelling mistake in the name of a state or source",
        ),
        "Compare values of one kind; the message says which two kinds were found.",
    ),
    Code(
        "condition.limit",
        "a condition too large",
        "A condition is too long or too deep, its regular expressions are too large, or they would search too much.",
        ("it was generated from a long list", "somebody tries to keep the control plane busy"),
        "Shorten it, or move the decision into a script that uploads the steps it wants.",
    ),
    Code(
        "condition.value",
        "a value a condition cannot work with",
        "A condition is well written and met a value that it cannot be decided with.",
        (
            "a variable that is marked as required (`${NAME:?}`) is not set in this build",
            "a substring's offset came from a variable that holds no number",
        ),
        "Give the variable a value in the build's environment, or a fallback in the condition: `${NAME:-fallback}`.",
    ),
    # --- branches, schedule: which branches, and when ---------------------------------------------------------
    Code(
        "branches.malformed",
        "not a branch filter",
        "`branches` in a step or in settings is no text with patterns, or has an empty or endless one.",
        (
            "it was written as a mapping or a number",
            "a `!` stands on its own; the pattern belongs straight behind it",
        ),
        'Write patterns with blanks between them, as in `branches: "main feature/* !feature/beta"`.',
    ),
    Code(
        "schedule.malformed",
        "not a cron line",
        "A schedule cannot be read. The caret stands under the field at fault.",
        (
            "a field is missing, or there is one more, such as seconds",
            "a number is outside of its field's range",
            "it uses an extension that other programs have, such as `@reboot` or `~`",
        ),
        "Write minute, hour, day of month, month, day of week, perhaps a time zone: `30 4 * * 1-5 Europe/Berlin`.",
    ),
    Code(
        "schedule.zone",
        "no such time zone",
        "A schedule names a time zone that this machine does not know.",
        (
            "a spelling mistake, or an abbreviation such as CEST, which is not the name of a time zone",
            "the machine has no time zone database (package tzdata)",
        ),
        "Write a name such as `Europe/Berlin` or an offset such as `+09:00`; install tzdata where no name is known.",
    ),
    Code(
        "schedule.never",
        "a schedule that does not run",
        "A cron line names days that do not exist within the next 40 years.",
        ("the 30th of February, or the 31st of a month with 30 days", "`&` joins two days that never meet"),
        "Correct the day or the month.",
    ),
    # --- webhook: deliveries of providers ---------------------------------------------------------------------
    Code(
        "webhook.secret",
        "no usable secret",
        "A webhook has no secret, a short or a damaged one, so no delivery could be told from a forged one.",
        ("the secret was not set yet", "only a part of it was copied"),
        "Make a long random secret, and set it here and at the provider.",
    ),
    Code(
        "webhook.unsigned",
        "a delivery without a signature",
        "A delivery came without the header that proves who sent it, and nothing of it was read.",
        (
            "no secret is set at the provider",
            "a proxy in between drops headers",
            "somebody found the address and tries it",
        ),
        "Set the secret at the provider; for GitLab, the one kind that is set here (token or signing token).",
    ),
    Code(
        "webhook.signature",
        "a delivery with a wrong signature",
        "A delivery's proof does not fit its body and the webhook's secret, and nothing of it was read.",
        (
            "the secret was changed on one side only",
            "a proxy in between changes bodies, for example by writing JSON anew",
            "somebody forged or changed it",
        ),
        "Set the same secret on both sides; during a change, keep the former one here as well.",
    ),
    Code(
        "webhook.stale",
        "a delivery from another time",
        "A delivery was signed more than five minutes from the server's time: it may have been kept and sent anew.",
        ("a clock is wrong", "the delivery waited in a queue", "somebody replays it"),
        "Set the clocks, and let the provider send it anew.",
    ),
    Code(
        "webhook.malformed",
        "a delivery that cannot be read",
        "A delivery is genuine, and its content is not what the provider's documentation says.",
        (
            "the content type is neither JSON nor (GitHub only) a form",
            "the webhook's address is that of another provider",
            "one push moved very many branches or tags",
        ),
        "Choose JSON at the provider and compare the address with the one shown here.",
    ),
    # --- notification: webhooks that the server sends ---------------------------------------------------------
    Code(
        "notification.malformed",
        "`notify` cannot be read",
        "A pipeline's `notify` is not a list of entries such as `webhook: https://...` with an optional `if`.",
        ("an entry is text or a number where a mapping is needed", "`if` is not between quotes"),
        "Write one entry for each receiver.",
    ),
    Code(
        "notification.url",
        "not a webhook's URL",
        "The URL of an outgoing webhook cannot be used.",
        (
            "it does not start with https://",
            "it has a user name or password in it, or characters that must be percent-encoded",
        ),
        "Write the whole URL, as in `https://example.com/hook`; the operator can allow http for receivers nearby.",
    ),
    Code(
        "notification.destination",
        "a destination that is not allowed",
        "The host of an outgoing webhook is in the server's own network, or nowhere, and nothing is sent there.",
        (
            "the receiver is inside, and the operator has not allowed its network",
            "the host name does not exist, or not yet",
            "a pipeline tries to reach something through the server that it cannot reach itself",
        ),
        "Use a receiver in the open network, or let the operator allow the network of this one.",
    ),
    Code(
        "notification.network",
        "not a network",
        "One of the networks that outgoing webhooks are allowed in cannot be read.",
        ("the address has bits set behind its prefix, as in 10.0.0.1/8", "a name was written instead of an address"),
        "Write it as `10.1.0.0/16`, or as a single address.",
    ),
    Code(
        "notification.secret",
        "no usable secret",
        "The secret of an outgoing webhook is short or damaged, so its signature would prove little.",
        ("only a part of it was copied",),
        "Make a long random secret, and set it here and at the receiver.",
    ),
)
