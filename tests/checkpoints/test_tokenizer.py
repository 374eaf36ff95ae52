import numpy as np
import pytest
import tokenizers

from soar_jax.checkpoints.base_model import EMBEDDED_FOLDER
from soar_jax.checkpoints.tokenizer import load_tokenizer, prompt_batch
from soar_jax.errors import SettingsError
from soar_jax.problems import arithmetic


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(EMBEDDED_FOLDER)


def test_every_word_of_the_world_is_one_token(tokenizer):
    text = " ".join(arithmetic.vocabulary())
    ids = tokenizer.encode_prompt(text)
    assert len(ids) == 1 + len(arithmetic.vocabulary())
    assert len(set(ids)) == len(ids)
    assert tokenizer.decode([ids]) == [text]


def test_a_prompt_has_exactly_one_bos(tokenizer):
    ids = tokenizer.encode_prompt("exam dial 1 2 3")
    assert ids[0] == tokenizer.bos_id
    assert ids.count(tokenizer.bos_id) == 1


def test_special_tokens_are_not_decoded(tokenizer):
    assert tokenizer.decode([[tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id]]) == [""]


def test_special_tokens_without_a_role_are_found_in_texts(tmp_path):
    backend = load_tokenizer(EMBEDDED_FOLDER).backend
    backend.add_tokens([tokenizers.AddedToken("<|turn|>", special=True), tokenizers.AddedToken("plain")])
    backend.save_pretrained(str(tmp_path))
    loaded = load_tokenizer(tmp_path)
    assert "<|turn|>" not in loaded.backend.all_special_tokens
    assert loaded.contains_special_token("a <|turn|> b")
    assert not loaded.contains_special_token("a plain b")


def test_a_chat_is_the_same_on_every_day():
    tokenizer = load_tokenizer(EMBEDDED_FOLDER)
    tokenizer.backend.chat_template = "\n {%- set d = strftime_now('%d') %}\n {{ d }} {{ messages[0]['content'] }}"
    assert tokenizer.chat("q", "") == " 26 Jul 2024 q"
    tokenizer.backend.chat_template = "\n {% if true %}\n {{ messages[0]['content'] }}{% endif %}"
    plain = [{"role": "user", "content": "q"}]
    assert tokenizer.chat("q", "") == tokenizer.backend.apply_chat_template(plain, tokenize=False)


def test_prompts_are_padded_to_the_smallest_bucket():
    batch = prompt_batch([[1, 2, 3], [4]], pad_id=0, buckets=(8, 3, 5))
    np.testing.assert_array_equal(batch.tokens, [[1, 2, 3], [4, 0, 0]])
    np.testing.assert_array_equal(batch.lengths, [3, 1])


def test_a_prompt_above_all_buckets_is_refused():
    with pytest.raises(SettingsError, match=r"a prompt has 6 tokens and the largest .* is 5"):
        prompt_batch([[1] * 6], pad_id=0, buckets=(3, 5))
