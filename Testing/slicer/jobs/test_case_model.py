"""Which model segments the cases of a list."""

from MedTLLib.jobs.case_model import CaseModel


def test_the_first_case_decides_and_a_model_that_does_not_fit_one_case_stays_that_of_the_list():
    model = CaseModel()
    model.leave("whatever was chosen before")
    model.enter("glioma")
    assert (model.name, model.replaced) == ("glioma", "")
    model.leave("glioma")
    model.enter("t1c")  # the panel's choice for a case that the list's model does not fit
    assert (model.name, model.replaced) == ("glioma", "t1c")
    model.leave("t1c")
    model.enter("glioma")
    assert (model.name, model.replaced) == ("glioma", "")


def test_a_model_that_the_user_chooses_or_uses_becomes_that_of_the_list():
    model = CaseModel()
    model.enter("glioma")
    model.leave("tuned")
    assert model.name == "tuned"
    model.enter("t1c")
    model.use("t1c")
    assert (model.name, model.replaced) == ("t1c", "")
