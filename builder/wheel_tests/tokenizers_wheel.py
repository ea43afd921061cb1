"""Runs inside the emulated environment: is a tokenizer trained, and does it read back what it wrote?"""

from kit import report


def check_training() -> tuple[bool, str]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(["a small corpus of small words", "words of a small corpus"] * 20, trainer)
    text = "small words é 猫"
    tokens = tokenizer.encode(text)
    return tokenizer.decode(tokens.ids) == text and len(tokens.ids) < len(text.encode()), str(
        tokens.tokens[:4]
    )


if __name__ == "__main__":
    report({"training": check_training})
