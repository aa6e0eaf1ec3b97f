"""Settings of runs that train in a second or two."""

from warmprompt.settings import load_settings


def small_settings(*more):
    """Return the settings of a tiny decoder without texts and experts of order, then `more` assignments."""
    return load_settings(
        assignments=[
            "backbone.name=tiny",
            "backbone.num_layers=",
            "backbone.item_text=",
            "backbone.user_text=",
            "model.num_factors=4",
            "model.factor_regularization=5",
            "train.tangent_epochs=2",
            "train.preset=default",
            "train.threads=1",
            "experts.order=",
            *more,
        ]
    )
