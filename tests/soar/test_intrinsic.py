from soar_jax.soar.intrinsic import count_votes


def test_votes_by_hand():
    answers = [["4", "4", "5", None], [None, None, None, None], ["7", "7", "7", "7"]]
    votes = count_votes(answers, ["5", "1", "7"])
    assert votes.agreement.tolist() == [0.25, 0.0, 1.0]
    assert votes.majority.tolist() == [0.5, 0.0, 1.0]
    assert votes.majority_answers == ("4", None, "7")
