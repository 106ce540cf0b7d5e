"""Codes of people at the web pages: accounts, signing in, and what each may do."""

from pipeseal.errors.codes.row import Code

ROWS: tuple[Code, ...] = (
    Code(
        "access.sign_in",
        "sign-in that failed",
        "No account has this address and password. The answer is the same whether the account exists or not.",
        ("a typing error", "the account was switched off", "somebody guesses"),
        "Try again, or ask an owner of the organisation for a link to choose another password.",
    ),
    Code(
        "access.slow_down",
        "too many failed attempts",
        "Signing in failed so often, for this account or from this address, that it is refused for a while.",
        ("a password manager with an old password", "many people behind one address", "somebody guesses passwords"),
        "Wait as long as the message says; a link from an owner does not help before that.",
    ),
    Code(
        "access.id_token",
        "sign-in that the provider did not prove",
        "What the sign-in provider sent is not its word that this person signed in, now, for this server.",
        (
            "the clocks of server and provider differ by minutes",
            "the provider signs with another algorithm than RS256 or ES256, or has just changed its keys",
            "`--oidc-client-id` is another client's",
            "somebody made the token up, or used another sign-in's",
        ),
        "Sign in again. When it fails for everybody, compare issuer and client with what the provider shows.",
    ),
    Code(
        "access.oidc_state",
        "answer to a sign-in that was not asked for",
        "The browser came back from the sign-in provider with something that it did not ask for, or too late.",
        (
            "signing in took longer than ten minutes",
            "the browser keeps no cookies, or two tabs signed in at once",
            "another site tries to sign you in as somebody else",
        ),
        "Sign in again, from the server's own page.",
    ),
    Code(
        "access.oidc_stranger",
        "somebody without an account",
        "The provider knows the person, and nobody has let them in here.",
        (
            "the address is in none of the domains of `--oidc-domain`",
            "the provider has not verified the e-mail address",
            "an owner switched the account off",
        ),
        "An owner invites the address, or the operator adds its domain.",
    ),
    Code(
        "server.oidc",
        "sign-in provider that cannot be used",
        "What is set for signing in at a provider does not fit together.",
        ("the issuer is http, or no URL", "the client's name is missing"),
        "Set `--oidc-issuer`, `--oidc-client-id` and the secret as the provider shows them.",
    ),
    Code(
        "server.oidc_provider",
        "sign-in provider that does not answer",
        "The server could not reach the sign-in provider, or cannot use its answer.",
        (
            "the provider is down, or the server may not reach it",
            "the client's secret is wrong or was replaced",
            "the code was used before: a page was loaded again",
        ),
        "Try again; the server's log has what the provider answered.",
    ),
    Code(
        "access.too_often",
        "too many requests",
        "Somebody asked the REST API, or for badges, more often than is allowed in a minute: a token or person, or "
        "strangers from one address. Agents are not counted.",
        (
            "a script asks in a loop instead of waiting",
            "many people behind one address or proxy",
            "somebody copies everything that is public",
        ),
        "Wait as long as `Retry-After` says; wait for builds and logs with `wait`, or follow them as events. Limits "
        "are set with `--max-requests` and `--max-anonymous-requests`.",
    ),
    Code(
        "access.signed_out",
        "session that is over",
        "The browser's session was ended, or not used for a week, or began more than a month ago.",
        ("time went by", "you signed out in another tab", "an owner switched the account off"),
        "Sign in again.",
    ),
    Code(
        "access.link_used",
        "link that works no more",
        "A link that makes an account or a new password was used already, is older than two days, or was replaced.",
        (
            "the link was opened twice",
            "the server was started again and printed a newer link",
            "somebody else used it",
        ),
        "Ask an owner for another link. If nobody you know used it, have the account it made switched off.",
    ),
    Code(
        "access.other_page",
        "change that no page of this server asked for",
        "A signed-in browser sent a change that did not come from the server's own pages.",
        (
            "the server is reached under another address than its --url",
            "a script sends the browser's cookie instead of an API token",
            "another web site tries to act in your name",
        ),
        "Use the server's own pages; programs use API tokens.",
    ),
    Code(
        "access.scope",
        "not allowed to do this",
        "The token or account is known, and lacks the scope that this needs.",
        ("a token was made for less than this", "the account is a reader's or a member's"),
        "Ask an owner of the organisation for the scope or role that the message names.",
    ),
    Code(
        "pipeline.public",
        "no public pipelines here",
        "A pipeline was to be made public, and the organisation does not allow that.",
        ("nobody has allowed it yet",),
        "An owner allows public pipelines in the organisation's settings (`public_pipelines`).",
    ),
    Code(
        "account.email",
        "no e-mail address",
        "What was given as an e-mail address is none.",
        ("a typing error", "a name was given in its place"),
        "Give an address such as owner@example.org.",
    ),
    Code(
        "account.name",
        "no name",
        "A person needs a name that others can see, of at most 80 characters.",
        ("the field was left empty",),
        "Give a name.",
    ),
    Code(
        "account.password",
        "password that would be guessed",
        "The password is shorter than 12 characters, longer than 256, or too easy to guess.",
        ("a short password was chosen",),
        "Take several words, or let a password manager make one.",
    ),
    Code(
        "account.role",
        "unknown role",
        "Roles are reader, member, maintainer and owner.",
        ("a typing error",),
        "Give one of the roles.",
    ),
    Code(
        "account.token",
        "token that cannot be made",
        "An API token needs a description that tells it from others, and scopes that there are.",
        ("a scope was written in another way",),
        "Give a description of at most 80 characters, and scopes that the message lists.",
    ),
    Code(
        "account.last_owner",
        "last owner",
        "The change would leave nobody who may change the organisation.",
        ("you gave up your own role before naming somebody else",),
        "Make somebody else an owner first.",
    ),
)
