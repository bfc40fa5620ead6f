"""Release: judge a bundle by the policy's gates, sign what was found, and move channels for a recorded reason."""

from passmuster.stages.release.channels import approve
from passmuster.stages.release.judge import judge
from passmuster.stages.release.sign import sign
from passmuster.stages.release.signature import Signed, check_signed, problems_of
from passmuster.stages.release.way_back import rollback

__all__ = ["Signed", "approve", "check_signed", "judge", "problems_of", "rollback", "sign"]
