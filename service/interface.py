"""Whether one model may take over from another while requests go on.

FeatureSchema of the service, of a new bundle --refuse_other_interface--> BundleUnfit, or nothing

What callers send and what the feature store keeps must stay as it is: the same ids, behaviours and
fields, of the same kinds and types. What training fitted may differ: vocabularies, bounds, and
histories no longer than those that are kept.
"""

from __future__ import annotations

from contract.schema import FeatureField, FeatureSchema
from service.errors import BundleUnfit


def refuse_other_interface(ours: FeatureSchema, theirs: FeatureSchema, kept_events: int) -> None:
    """Raises BundleUnfit.

    Args:
        ours: the schema that requests and stored features follow.
        theirs: of the bundle that is to take over.
        kept_events: of each user and behaviour, in the feature store.
    """
    for what, our_type, their_type in (
        ("its user ids", ours.user_id_type, theirs.user_id_type),
        ("its item ids", ours.item_id_type, theirs.item_id_type),
        ("its field of the user id", ours.user_id_field, theirs.user_id_field),
        ("its field of the item id", ours.item_id_field, theirs.item_id_field),
        ("its behaviours", sorted(ours.behaviours), sorted(theirs.behaviours)),
    ):
        if our_type != their_type:
            raise _unfit(f"{what}: {their_type}, here {our_type}")
    mine, its = _fields(ours), _fields(theirs)
    if added := sorted(its.keys() - mine.keys()):
        raise _unfit(f"it reads {', '.join(added)}, which no caller sends here")
    if gone := sorted(mine.keys() - its.keys()):
        raise _unfit(f"it knows no field {', '.join(gone)}, which callers may send here")
    for name, kind in mine.items():
        if its[name] != kind:
            raise _unfit(f"its field {name} is {its[name]}, here {kind}")
    if theirs.history_length > kept_events:
        raise _unfit(
            f"it reads histories of {theirs.history_length} events and {kept_events} are kept: "
            f"restart with TASKGRAFT_HISTORY_CAP={theirs.history_length} first"
        )


def _fields(schema: FeatureSchema) -> dict[str, str]:
    return {field.name: _kind(schema, field) for field in schema.fields}


def _kind(schema: FeatureSchema, field: FeatureField) -> str:
    """All that a caller can tell of a field."""
    if field.kind == "dense":
        return f"dense ({field.side})"
    raw = next(v.type for v in schema.vocabularies if v.name == field.vocabulary)
    if field.kind == "categorical":
        return f"categorical ({field.side}) of {raw}"
    return f"multivalued ({field.side}), at most {field.max_values} of {raw}"


def _unfit(why: str) -> BundleUnfit:
    return BundleUnfit(
        f"the bundle cannot take over while requests go on: {why}; serve it as a service of its "
        "own and move the callers there"
    )
