"""Stage embed: SAM's image embeddings, once, where its encoder is frozen; off by default."""

from pathlib import Path

from sim4seg.config.params import Params
from sim4seg.embeddings.index import write_disabled
from stages.entry import run


def main(params: Params) -> None:
    """Embed with the encoder that the ``train`` section starts from, by the ``embed`` section."""
    if not params.embed.enabled:
        write_disabled(Path("data/embeddings"))
        return
    from sim4seg.embeddings.embed import EmbedPaths, embed
    from sim4seg.model.presets import prepare

    embed(params.embed, *prepare(params.train, Path("data/tokenizer"), params.base.seed), EmbedPaths())


if __name__ == "__main__":
    run("embed", main)
