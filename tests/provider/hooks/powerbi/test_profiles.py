"""Who calls Power BI as a service principal profile says so in each call to it, and to nobody else."""

from __future__ import annotations

import asyncio

from provider.hooks.powerbi.hook import PowerBIHook, RefreshRequest
from provider.hooks.powerbi.transport import PowerBIApi

PROFILE = "81f24a6d-7ebb-4478-99c7-2c36f7870a26"
REQUEST: RefreshRequest = {"workspace": "Finance", "semantic_model": "Sales", "body": {"type": "full"}, "enhanced": True}


def named(cloud):
    return {
        entry.resource.partition("/v1.0/myorg/")[2] or entry.resource for entry in cloud.ledger.entries(operation="profile_named")
    }


def test_every_call_names_the_profile_and_entra_is_not_told(powerbi_cloud, change_connection):
    change_connection({"profile_id": PROFILE})
    hook = PowerBIHook()

    assert hook.test_connection()[0] is True
    intent = hook.prepare(REQUEST)
    job = hook.start(REQUEST, intent)
    found = hook.find(intent)
    assert found is not None
    assert found["id"] == job["id"]
    hook.status(job)
    hook.cancel(job)

    entries = powerbi_cloud.ledger.entries(operation="profile_named")
    assert {entry.detail["profile_id"] for entry in entries} == {PROFILE}
    assert {entry.service for entry in entries} == {"powerbi"}
    model = f"groups/{intent['workspace_id']}/datasets"
    refreshes = f"{model}/{intent['item_id']}/refreshes"
    assert named(powerbi_cloud) == {"groups", model, refreshes, f"{refreshes}/{job['id']}"}
    assert {entry.resource.partition(" ")[0] for entry in entries} == {"GET", "POST", "DELETE"}


def test_without_a_profile_no_call_names_one(powerbi_cloud):
    assert PowerBIHook().test_connection()[0] is True
    assert named(powerbi_cloud) == set()


def test_two_profiles_of_one_application_do_not_mix(powerbi_cloud, change_connection):
    """They share connections to the same address, in one event loop."""
    other = PROFILE.replace("81f2", "92f2")

    async def call_as_each() -> list[str]:
        for settings in of_each:
            await PowerBIApi(settings, PowerBIHook().budget).listed("groups")
        return [entry.detail["profile_id"] for entry in powerbi_cloud.ledger.entries(operation="profile_named")]

    of_each = []
    for profile in (PROFILE, None, other):
        change_connection({"profile_id": profile})
        of_each.append(PowerBIHook().settings)

    assert asyncio.run(call_as_each()) == [PROFILE, other]


def test_a_profile_that_is_no_id_is_refused_before_a_call(powerbi_cloud, change_connection):
    change_connection({"profile_id": "Contoso"})

    ok, text = PowerBIHook().test_connection()

    assert ok is False
    assert "extra `profile_id` is 'Contoso'; give the profile's id, a GUID" in text
    assert powerbi_cloud.ledger.entries() == []
