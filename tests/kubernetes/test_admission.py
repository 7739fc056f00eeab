"""Evaluates the admission policy of the builder's account with a CEL evaluator in Python.

Clusters below 1.30 do not compile its expressions; on newer ones test_roles.py tests the account itself. These tests
need no cluster.
"""

import pathlib
import unittest

try:
    import celpy
    import yaml
    from celpy import celtypes
except ImportError as missing:
    raise ImportError(f"{missing}: 'scripts/test manifests' runs these tests with what tests/kubernetes/requirements.txt names")

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILDER = "system:serviceaccount:builder-system:builder-controller"
MANAGED = {"app.kubernetes.io/managed-by": "slipway"}
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
NAMESPACES = "may only touch namespaces that are named app-*"
LEVEL = 'enforces the Pod Security level "restricted"'
BINDING = "may bind only slipway-app-manager, and only to itself"
SERVICES = "Services of the type ClusterIP"
INGRESSES = "the two hosts of the namespace's own app"


def equal(one, other):
    """As in CEL: null equals only null. The evaluator's own function raises when it compares with null."""
    same = one is other if one is None or other is None else one == other
    return celtypes.BoolType(same)


def differ(one, other):
    return celtypes.BoolType(not equal(one, other))


class Policy:
    """The compiled policy. It returns the validations that a request fails."""

    def __init__(self):
        file = ROOT / "k8s/builder/admission/policy.yaml"
        self.spec = next(thing for thing in yaml.safe_load_all(file.read_text()) if thing["kind"].endswith("Policy"))["spec"]
        self.environment, self.programs = celpy.Environment(), {}

    def evaluate(self, expression, names):
        program = self.programs.get(expression)
        if not program:
            program = self.environment.program(self.environment.compile(expression), functions={"_==_": equal, "_!=_": differ})
            self.programs[expression] = program
        return program.evaluate(names)

    def refusals(self, request, object_, old, namespace):
        """Evaluates in the order of a cluster. An expression that cannot be evaluated is an error here, not a denial."""
        values = {"request": request, "object": object_, "oldObject": old, "namespaceObject": namespace}
        names = {name: celpy.json_to_cel(value) for name, value in values.items()}
        if not all(self.evaluate(condition["expression"], names) for condition in self.spec["matchConditions"]):
            return []
        variables = celtypes.MapType()
        for variable in self.spec["variables"]:
            variables[celtypes.StringType(variable["name"])] = self.evaluate(variable["expression"], names)
        names["variables"] = variables
        results = [(rule["message"], self.evaluate(rule["expression"], names)) for rule in self.spec["validations"]]
        for message, result in results:
            assert isinstance(result, (bool, celtypes.BoolType)), f"{message}: {result!r} is no truth value"
        return [message for message, result in results if not result]


def thing(name, labels=None, **more):
    """An object. Without labels it has no such field, as in a cluster."""
    return {"metadata": {"name": name} | ({"labels": labels} if labels is not None else {})} | more


def binding(role="slipway-app-manager", subjects=None, kind="ClusterRole"):
    own = [{"kind": "ServiceAccount", "name": "builder-controller", "namespace": "builder-system"}]
    return thing("slipway", MANAGED, roleRef={"kind": kind, "name": role}, subjects=own if subjects is None else subjects)


APP = thing("app-x", MANAGED | RESTRICTED)
STRANGERS = (
    thing("app-x"),
    thing("app-x", {}),
    thing("app-x", {"app.kubernetes.io/managed-by": "helm"}),
    thing("app-x", {"app.kubernetes.io/part-of": "slipway"}),
    thing("kube-system", {"kubernetes.io/metadata.name": "kube-system"}),
    thing("default"),
    thing("builder-system", {"app.kubernetes.io/part-of": "slipway"}),
    thing("my-app-x", MANAGED | RESTRICTED),
)


class Admission(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.policy = Policy()

    def ask(self, operation, resource, new=None, old=None, within=None, user=BUILDER, group="", name=None, subresource=""):
        request = {
            "operation": operation,
            "userInfo": {"username": user, "groups": ["system:authenticated"]},
            "resource": {"group": group, "version": "v1", "resource": resource},
            "subResource": subresource,
            "name": (new or old)["metadata"]["name"] if name is None else name,
        }
        if within:
            request["namespace"] = within["metadata"]["name"]
        return self.policy.refusals(request, new, old, within)

    def assert_admitted(self, *arguments, **options):
        self.assertEqual(self.ask(*arguments, **options), [])

    def assert_refused(self, because, *arguments, **options):
        self.assertTrue(any(because in message for message in self.ask(*arguments, **options)), (because, arguments, options))

    def test_namespaces_of_apps_come_change_and_go(self):
        self.assert_admitted("CREATE", "namespaces", APP)
        self.assert_admitted("UPDATE", "namespaces", thing("app-x", MANAGED | RESTRICTED | {"slipway.dev/app": "x"}), APP)
        self.assert_admitted("DELETE", "namespaces", old=APP)
        # Created before the level was required: it may be deleted, and may be corrected.
        before = thing("app-x", MANAGED)
        self.assert_admitted("DELETE", "namespaces", old=before)
        self.assert_admitted("UPDATE", "namespaces", APP, before)

    def test_namespaces_of_others_are_out_of_reach(self):
        for other in STRANGERS:
            with self.subTest(namespace=other):
                self.assert_refused(NAMESPACES, "DELETE", "namespaces", old=other)
                name = other["metadata"]["name"]
                # Adopting a namespace by adding the label is denied.
                self.assert_refused(NAMESPACES, "UPDATE", "namespaces", thing(name, MANAGED | RESTRICTED), other)
        self.assert_refused(NAMESPACES, "CREATE", "namespaces", thing("x", MANAGED | RESTRICTED))
        self.assert_refused(NAMESPACES, "CREATE", "namespaces", thing("app-x", RESTRICTED))
        # A name that the cluster generates is not known yet.
        self.assert_refused(NAMESPACES, "CREATE", "namespaces", thing("", MANAGED | RESTRICTED), name="")
        # Removing the label would exempt an app's namespace.
        self.assert_refused(NAMESPACES, "UPDATE", "namespaces", thing("app-x", RESTRICTED), APP)
        self.assert_refused(NAMESPACES, "UPDATE", "namespaces", thing("app-x"), APP)

    def test_the_pod_security_level_cannot_be_lowered(self):
        for labels in (
            {},
            {"pod-security.kubernetes.io/enforce": "baseline"},
            {"pod-security.kubernetes.io/enforce": "privileged"},
            {"pod-security.kubernetes.io/enforce": ""},
            {"pod-security.kubernetes.io/warn": "restricted"},
        ):
            with self.subTest(labels=labels):
                self.assert_refused(LEVEL, "CREATE", "namespaces", thing("app-x", MANAGED | labels))
                self.assert_refused(LEVEL, "UPDATE", "namespaces", thing("app-x", MANAGED | labels), APP)
        self.assert_refused(LEVEL, "UPDATE", "namespaces", thing("app-x"), APP)

    def test_in_an_apps_namespace_it_works_and_elsewhere_not(self):
        for resource, group in (("secrets", ""), ("deployments", "apps"), ("networkpolicies", "networking.k8s.io")):
            one = thing("x-prod", MANAGED)
            for operation, new, old in (("CREATE", one, None), ("UPDATE", one, one), ("DELETE", None, one)):
                with self.subTest(resource=resource, operation=operation):
                    self.assert_admitted(operation, resource, new, old, within=APP, group=group)
                    for other in STRANGERS:
                        self.assert_refused(NAMESPACES, operation, resource, new, old, within=other, group=group)
        # Cluster-scoped objects.
        self.assert_refused(NAMESPACES, "CREATE", "persistentvolumes", thing("x"))
        self.assert_refused(NAMESPACES, "DELETE", "clusterroles", old=thing("x"), group="rbac.authorization.k8s.io")
        # A kind of the same name in another API group is not a namespace.
        self.assert_refused(NAMESPACES, "CREATE", "namespaces", APP, group="example.test")
        # Subresources: connecting to a pod has an object of its own kind, which has no metadata.
        self.assert_refused(
            NAMESPACES, "CONNECT", "pods", {"command": ["sh"]}, within=STRANGERS[4], name="coredns", subresource="exec"
        )

    def test_it_binds_its_one_role_to_itself_and_nothing_else(self):
        options = {"group": "rbac.authorization.k8s.io"}
        self.assert_admitted("CREATE", "rolebindings", binding(), within=APP, **options)
        self.assert_admitted("UPDATE", "rolebindings", binding(), binding(), within=APP, **options)
        self.assert_admitted("DELETE", "rolebindings", old=binding(role="admin"), within=APP, **options)
        own = binding()["subjects"][0]
        for wrong in (
            binding(role="cluster-admin"),
            binding(role="slipway-builder"),
            binding(kind="Role"),
            binding(subjects=[own | {"name": "default"}]),
            binding(subjects=[own | {"namespace": "app-x"}]),
            binding(subjects=[{"kind": "ServiceAccount", "name": "builder-controller"}]),
            binding(subjects=[own, own | {"name": "default"}]),
            binding(subjects=[{"kind": "Group", "name": "system:serviceaccounts", "apiGroup": "rbac.authorization.k8s.io"}]),
            binding(subjects=[{"kind": "User", "name": "builder-controller", "apiGroup": "rbac.authorization.k8s.io"}]),
        ):
            with self.subTest(binding=wrong):
                self.assert_refused(BINDING, "CREATE", "rolebindings", wrong, within=APP, **options)
                self.assert_refused(BINDING, "UPDATE", "rolebindings", wrong, binding(), within=APP, **options)
        without = {key: value for key, value in binding().items() if key != "subjects"}
        self.assert_refused(BINDING, "CREATE", "rolebindings", without, within=APP, **options)
        # The allowed binding in a foreign namespace would let the account read it.
        for other in STRANGERS:
            self.assert_refused(NAMESPACES, "CREATE", "rolebindings", binding(), within=other, **options)

    def test_services_have_no_address_outside(self):
        def service(**spec):
            return thing("x-prod", MANAGED, spec={"selector": {"a": "b"}, "ports": [{"port": 80}]} | spec)

        self.assert_admitted("CREATE", "services", service(type="ClusterIP", clusterIP="10.0.0.1"), within=APP)
        self.assert_admitted("UPDATE", "services", service(), service(externalIPs=["192.0.2.1"]), within=APP)
        self.assert_admitted("DELETE", "services", old=service(type="NodePort"), within=APP)
        for wrong in (
            {"type": "ClusterIP", "externalIPs": ["192.0.2.1"]},
            {"type": "NodePort"},
            {"type": "LoadBalancer"},
            {"type": "ExternalName", "externalName": "metadata.example.org"},
            {"loadBalancerIP": "192.0.2.1"},
        ):
            with self.subTest(service=wrong):
                self.assert_refused(SERVICES, "CREATE", "services", service(**wrong), within=APP)
                self.assert_refused(SERVICES, "UPDATE", "services", service(**wrong), service(), within=APP)
        # A claimed load balancer address is in the status.
        self.assert_refused(SERVICES, "UPDATE", "services", service(), service(), within=APP, subresource="status")
        # A kind of the same name in another API group has another schema.
        self.assert_admitted("CREATE", "services", thing("x", MANAGED), within=APP, group="serving.example.test")

    def test_ingresses_have_the_apps_own_hosts(self):
        def ingress(*hosts, **spec):
            return thing("x-prod", MANAGED, spec={"rules": [{"host": host} if host else {} for host in hosts]} | spec)

        options = {"within": APP, "group": "networking.k8s.io"}
        for host in ("x.localhost", "x-preview.localhost"):
            self.assert_admitted("CREATE", "ingresses", ingress(host), **options)
            self.assert_admitted("CREATE", "ingresses", ingress(host, tls=[{"hosts": [host], "secretName": "x"}]), **options)
        self.assert_admitted("DELETE", "ingresses", old=ingress("builder.localhost"), **options)
        self.assert_admitted("CREATE", "ingresses", ingress("x.localhost"), within=APP, group="extensions")
        for wrong in (
            ingress("builder.localhost"),
            ingress("y.localhost"),
            ingress("x-draft.localhost"),
            ingress("x.localhost", "y.localhost"),
            ingress("x.localhost", ""),
            ingress("*.localhost"),
            ingress("app-x.localhost"),
            ingress("x.example.org"),
            ingress("x.localhost.example.org"),
            ingress(),
            ingress("x.localhost", defaultBackend={"service": {"name": "x"}}),
            ingress("x.localhost", backend={"serviceName": "x"}),
            ingress("x.localhost", tls=[{"hosts": ["builder.localhost"]}]),
            ingress("x.localhost", tls=[{"secretName": "x"}]),
            thing("x", MANAGED, spec={}),
        ):
            with self.subTest(ingress=wrong):
                self.assert_refused(INGRESSES, "CREATE", "ingresses", wrong, **options)
                self.assert_refused(INGRESSES, "UPDATE", "ingresses", wrong, ingress("x.localhost"), **options)
        self.assert_refused(INGRESSES, "UPDATE", "ingresses", ingress("x.localhost"), ingress("x.localhost"), subresource="status", **options)

    def test_bootstrap_names_the_domains(self):
        """The placeholder that bootstrap, or an operator, replaces with the domains."""
        names = [variable["name"] for variable in self.policy.spec["variables"]]
        self.assertEqual(names.index("domains"), 2)
        for file in ("scripts/bootstrap-cluster.sh", "docs/kubernetes.md"):
            self.assertIn("/spec/variables/2/expression", (ROOT / file).read_text())

    def test_other_accounts_are_none_of_its_business(self):
        for user in (
            "admin",
            "system:admin",
            "system:serviceaccount:builder-system:registry",
            "system:serviceaccount:default:builder-controller",
        ):
            with self.subTest(user=user):
                self.assert_admitted("DELETE", "namespaces", old=thing("kube-system"), user=user)
                self.assert_admitted("CREATE", "rolebindings", binding(role="cluster-admin"), within=STRANGERS[4], user=user)

    def test_the_wall_stands_where_it_should(self):
        """The settings around the expressions: they apply to every kind, and an evaluation error denies."""
        spec = self.policy.spec
        self.assertEqual(spec["failurePolicy"], "Fail")
        everything = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}
        self.assertEqual(spec["matchConstraints"]["resourceRules"], [everything])
        groups = {group for rule in spec["matchConstraints"]["excludeResourceRules"] for group in rule["apiGroups"]}
        self.assertEqual(groups, {"authentication.k8s.io", "authorization.k8s.io"})
        documents = yaml.safe_load_all((ROOT / "k8s/builder/admission/policy.yaml").read_text())
        (bound,) = (thing for thing in documents if thing["kind"] == "ValidatingAdmissionPolicyBinding")
        self.assertEqual((bound["spec"]["policyName"], bound["spec"]["validationActions"]), ("slipway-builder", ["Deny", "Audit"]))


if __name__ == "__main__":
    unittest.main()
