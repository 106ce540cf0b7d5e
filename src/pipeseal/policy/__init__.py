"""May this job run? Pure functions from evidence to a decision."""

from pipeseal.policy.decision import ApprovedJob, Refused
from pipeseal.policy.evaluate import evaluate
from pipeseal.policy.settings import OnFailure, VerificationSettings, parse_on_failure

__all__ = ["ApprovedJob", "OnFailure", "Refused", "VerificationSettings", "evaluate", "parse_on_failure"]
