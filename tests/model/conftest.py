"""A randomly initialised `tiny` model with its own tokenizer, shared by the tests of model and inference."""

import pytest

from sim4seg.config.train import Region
from sim4seg.model.presets import build
from sim4seg.model.tokenizer import load_tokenizer, train_tokenizer
from tests.model.shown_prompts import prompt_shown
from tests.settings import plain_loss, settings

QUESTION = "Where is the lesion in this image, and what is the diagnosis?"
ANSWER = "Sure, it is [SEG]. Firstly, the modality of the image is ultrasound. Finally, the diagnosis is: benign"


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    train_tokenizer([QUESTION, ANSWER], 400, folder)
    return load_tokenizer(folder)


@pytest.fixture(scope="session")
def built(tokenizer):
    model, processor = build("tiny", tokenizer, settings(Region), plain_loss(), seed=3)
    return model.eval(), processor


@pytest.fixture(scope="session")
def segmenter():
    return prompt_shown()
