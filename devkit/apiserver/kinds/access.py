"""RBAC objects: defaults and rules.

Source: rbac/v1 defaults and validation.
"""

from devkit.apiserver import errors, metadata, objects
from devkit.apiserver.kinds import strategy

_RBAC = "rbac.authorization.k8s.io"


class Role(strategy.Strategy):
    """Role and ClusterRole; names may be anything a path can carry."""

    name_rule: metadata.NameRule = staticmethod(metadata.path_segment)

    def validate(self, obj: objects.Object) -> list[errors.Cause]:
        causes = []
        for number, rule in enumerate(obj.get("rules") or ()):
            at = f"rules[{number}]"
            if not rule.get("verbs"):
                causes.append(
                    errors.required(f"{at}.verbs", "verbs must contain at least one value")
                )
            if rule.get("nonResourceURLs"):
                continue
            for field in ("apiGroups", "resources"):
                if not rule.get(field):
                    why = f"resource rules must supply at least one {field[:-1]}"
                    causes.append(errors.required(f"{at}.{field}", why))
        return causes


class Binding(strategy.Strategy):
    """RoleBinding and ClusterRoleBinding; what they bind to cannot be changed."""

    name_rule: metadata.NameRule = staticmethod(metadata.path_segment)

    def complete(self, obj: objects.Object) -> None:
        super().complete(obj)
        obj["roleRef"].setdefault("apiGroup", _RBAC)
        for subject in obj.get("subjects") or ():
            if subject.get("kind") in ("User", "Group"):
                subject.setdefault("apiGroup", _RBAC)

    def validate(self, obj: objects.Object) -> list[errors.Cause]:
        kinds = ["Role", "ClusterRole"] if self.kind == "RoleBinding" else ["ClusterRole"]
        reference = obj["roleRef"]
        causes = []
        if reference.get("kind") not in kinds:
            causes.append(errors.not_supported("roleRef.kind", reference.get("kind"), kinds))
        if not reference.get("name"):
            causes.append(errors.required("roleRef.name"))
        for number, subject in enumerate(obj.get("subjects") or ()):
            causes += _subject_causes(subject, f"subjects[{number}]", self.kind)
        return causes

    def validate_update(self, new: objects.Object, old: objects.Object) -> list[errors.Cause]:
        if new["roleRef"] == old["roleRef"]:
            return []
        return [errors.invalid_value("roleRef", new["roleRef"], "cannot change roleRef")]


def _subject_causes(subject: objects.Object, at: str, kind: str) -> list[errors.Cause]:
    causes = []
    if not subject.get("name"):
        causes.append(errors.required(f"{at}.name"))
    known = ["ServiceAccount", "User", "Group"]
    if subject.get("kind") not in known:
        causes.append(errors.not_supported(f"{at}.kind", subject.get("kind"), known))
    is_account = subject.get("kind") == "ServiceAccount"
    if is_account and not subject.get("namespace") and kind == "ClusterRoleBinding":
        causes.append(errors.required(f"{at}.namespace"))
    return causes
