"""Send a model to a Hub, on demand only: offline by default, private by default, the token from the environment."""

from __future__ import annotations

import os
from pathlib import Path

from sim4seg.errors import ModelError
from sim4seg.model.weights.adapters import RECORD, TENSORS
from sim4seg.model.weights.checkpoint import Checkpoint, open_checkpoint

SENT = (
    "config.json", "generation_config.json", "processor.json", "conversion.json", "README.md",
    "tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model", "chat_template.jinja",
    "model.safetensors", "model-*.safetensors", "model.safetensors.index.json", RECORD, TENSORS,
)  # fmt: skip
"""Nothing else of the folder leaves the machine."""


def push(model: Path, repo: str, *, public: bool = False) -> tuple[str, list[str]]:
    """Upload a model's files as one commit.

    Args:
        model: folder of a model, or of adapters.
        repo: ``owner/name``; made if it is not there.
        public: of a repository that is made here.

    Returns:
        Address of the commit, and the names sent.

    Raises:
        ModelError: offline, no token, no model there, or the Hub refused.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    names = _names(model)
    if constants.is_offline_mode():
        raise ModelError(
            "this process is offline (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE); Sim4Seg is unless told otherwise",
            where="the environment",
            remedy="if the model may leave this machine, run the command with HF_HUB_OFFLINE=0",
        )
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise ModelError(
            "no token; stored logins are not used", where="HF_TOKEN", remedy="set HF_TOKEN for this one command"
        )
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    try:
        api.create_repo(repo, private=not public, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo, folder_path=model, allow_patterns=names, commit_message="Sim4Seg model"
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelError(
            f"the Hub did not take it: {str(error).splitlines()[0].replace(token, '***')}",
            where=repo,
            remedy="check the repository's name, the token's rights and the network",
        ) from error
    return str(commit.commit_url), names


def _names(model: Path) -> list[str]:
    """Files to send; headers of the weights are checked first."""
    if (model / RECORD).is_file():
        Checkpoint([model / TENSORS])
    else:
        open_checkpoint(model)
    names = sorted({file.name for pattern in SENT for file in model.glob(pattern) if file.is_file()})
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        raise ModelError(
            "not a model of ours: config.json and safetensors are expected", where=str(model), remedy="convert it first"
        )
    return names
