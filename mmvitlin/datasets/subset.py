"""An evenly spread part of a data set."""


def evenly(count: int, limit: int | None = None) -> list[int]:
    """Numbers of at most ``limit`` of ``count`` samples, evenly spread over them.

    Data sets are sorted, by class or by drive: the first ones would be of one kind.

    Args:
        count: Samples that there are.
        limit: None for all.

    Raises:
        ValueError: the limit is below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f'needs at least one sample, got {limit}')
    if limit is None or limit >= count:
        return list(range(count))
    return [(2 * n + 1) * count // (2 * limit) for n in range(limit)]
