"""How far the models look: a little, and the same each time, in `make test`; as far as its profile says otherwise."""

from hypothesis import settings

__all__ = ["model_settings"]


def model_settings(max_examples: int, steps: int) -> settings:
    """Return the settings of one model. What fails is told with a blob that repeats it."""
    if settings.get_current_profile_name() == "default":
        return settings(max_examples=max_examples, stateful_step_count=steps, derandomize=True, print_blob=True)
    return settings(stateful_step_count=2 * steps, print_blob=True)
