import dataclasses
import json

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


def with_tokens(folder, *tokens):
    backend = load_tokenizer(EMBEDDED_FOLDER).backend
    backend.add_tokens(list(tokens))
    backend.save_pretrained(str(folder))
    return folder


def test_ends_of_a_turn_come_from_all_files(tmp_path):
    end, other = (tokenizers.AddedToken(text, special=True) for text in ("<|im_end|>", "<|other|>"))
    with_tokens(tmp_path, end, other, tokenizers.AddedToken("<|end|>"))
    size = len(load_tokenizer(EMBEDDED_FOLDER).backend)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, True, "x", -1]}))
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 6}))
    assert load_tokenizer(tmp_path).stop_ids == (2, 5, 6, size)  # EOS, the files', and the special token by its name
    (tmp_path / "generation_config.json").write_text("{}")
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": None}))
    assert load_tokenizer(tmp_path).stop_ids == (2, size)


def test_an_id_that_the_model_lacks_is_refused_in_a_prompt(tmp_path):
    special, plain = tokenizers.AddedToken("<image>", special=True), tokenizers.AddedToken("plainword")
    folder, size = with_tokens(tmp_path, special, plain), len(load_tokenizer(EMBEDDED_FOLDER).backend)
    tokenizer = load_tokenizer(folder).for_model(size, "m")
    assert tokenizer.vocab_size == size + 2
    assert tokenizer.encode_prompt("exam dial 1") == load_tokenizer(EMBEDDED_FOLDER).encode_prompt("exam dial 1")
    for text, number in (("<image>", size), ("plainword", size + 1)):
        message = f"a prompt has the token '{text}' with id {number}, but the model has only {size} ids; leave it out"
        with pytest.raises(SettingsError, match=message):
            tokenizer.encode_prompt(f"exam {text} 1")
        assert tokenizer.contains_special_token(f"exam {text} 1")  # so that questions with it are left out
    assert not tokenizer.contains_special_token("exam dial 1")
    larger = load_tokenizer(folder).for_model(size + 2, "m")
    assert larger.encode_prompt("plainword")[-1] == size + 1
    assert not larger.contains_special_token("plainword")


def test_special_ids_that_the_model_lacks(tmp_path):
    tokenizer = load_tokenizer(EMBEDDED_FOLDER)
    wide = dataclasses.replace(tokenizer, pad_id=500, stop_ids=(2, 501))
    narrow = wide.for_model(500, "m")
    assert (narrow.pad_id, narrow.stop_ids) == (2, (2,))
    with pytest.raises(SettingsError, match="the tokenizer of m ends texts with id 2, but the model has only 2 ids"):
        tokenizer.for_model(2, "m")


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
