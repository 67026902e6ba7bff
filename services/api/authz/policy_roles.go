package authz

import rbacv1 "k8s.io/api/rbac/v1"

func rules(r ...rbacv1.PolicyRule) []rbacv1.PolicyRule { return r }

func events() rbacv1.PolicyRule {
	return on("create patch update", "core events.k8s.io", "events")
}

// everybodysRoles are what anybody may ask, and the role that may do all.
func everybodysRoles() []roleSpec {
	return []roleSpec{
		{name: "cluster-admin", rules: rules(on("*", "*", "*"), paths("*", "*"))},
		{name: "system:discovery", rules: rules(paths("get", "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/"))},
		{name: "system:public-info-viewer", rules: rules(paths("get", "/healthz /livez /readyz /version /version/"))},
		{name: "system:monitoring", rules: rules(paths("get", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/* /statusz /flagz"))},
		{name: "system:basic-user", rules: rules(
			on("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
			on("create", "authentication.k8s.io", "selfsubjectreviews"))},
		{name: "system:service-account-issuer-discovery", rules: rules(paths("get", "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/"))},
	}
}

// usersRoles are admin, edit and view, and what they are made of.
func usersRoles() []roleSpec {
	return []roleSpec{
		{name: "admin", aggregates: "admin"},
		{name: "edit", aggregates: "edit", into: "admin"},
		{name: "view", aggregates: "view", into: "edit"},
		{name: "system:aggregate-to-admin", into: "admin", rules: rules(
			on("create", "authorization.k8s.io", "localsubjectaccessreviews"),
			on(readWrite, "rbac.authorization.k8s.io", "rolebindings roles"))},
		{name: "system:aggregate-to-edit", into: "edit", rules: editRules()},
		{name: "system:aggregate-to-view", into: "view", rules: viewRules()},
		// What the metrics server brings along where there is one.
		{name: "system:aggregated-metrics-reader", into: "admin edit view", rules: rules(on(read, "metrics.k8s.io", "nodes pods"))},
	}
}

func editRules() []rbacv1.PolicyRule {
	return rules(
		on(read, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
		on("impersonate", "core", "serviceaccounts"),
		on(write, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
		on("create", "core", "pods/eviction"),
		on(write, "core", "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy"),
		on("create", "core", "serviceaccounts/token"),
		on(write, "apps", "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale"),
		on(write, "autoscaling", "horizontalpodautoscalers"),
		on(write, "batch", "cronjobs jobs"),
		on(write, "extensions", "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets replicasets/scale replicationcontrollers/scale"),
		on(write, "policy", "poddisruptionbudgets"),
		on(write, "networking.k8s.io", "ingresses networkpolicies"),
		on(readWrite, "coordination.k8s.io", "leases"),
		on(write, "resource.k8s.io", "resourceclaims resourceclaimtemplates"),
	)
}

func viewRules() []rbacv1.PolicyRule {
	return rules(
		on(read, "core", "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status"),
		on(read, "core", "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status"),
		on(read, "core", "namespaces"),
		on(read, "discovery.k8s.io", "endpointslices"),
		on(read, "apps", "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status"),
		on(read, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
		on(read, "batch", "cronjobs cronjobs/status jobs jobs/status"),
		on(read, "extensions", "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale"),
		on(read, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
		on(read, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
		on(read, "resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates"),
	)
}

// componentRoles are for the parts of a cluster and for what is often installed into one.
func componentRoles() []roleSpec {
	return []roleSpec{
		{name: "system:kube-controller-manager", rules: controllerRules()},
		{name: "system:kube-scheduler", rules: schedulerRules()},
		{name: "system:volume-scheduler", rules: rules(
			on("get list patch update watch", "core", "persistentvolumes"), on(read, "storage.k8s.io", "storageclasses"),
			on("get list patch update watch", "core", "persistentvolumeclaims"))},
		{name: "system:kube-dns", rules: rules(on("list watch", "core", "endpoints services"))},
		{name: "system:kube-aggregator", rules: rules(on(read, "core", "endpoints services"))},
		{name: "system:auth-delegator", rules: rules(
			on("create", "authentication.k8s.io", "tokenreviews"), on("create", "authorization.k8s.io", "subjectaccessreviews"))},
		{name: "system:persistent-volume-provisioner", rules: rules(
			on("create delete get list watch", "core", "persistentvolumes"), on("get list update watch", "core", "persistentvolumeclaims"),
			on(read, "storage.k8s.io", "storageclasses"), on("watch", "core", "events"), events())},
		{name: "system:certificates.k8s.io:certificatesigningrequests:nodeclient", rules: rules(on("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient"))},
		{name: "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", rules: rules(on("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient"))},
		{name: "system:certificates.k8s.io:kube-apiserver-client-approver", rules: rules(on("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client"))},
		{name: "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver", rules: rules(on("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet"))},
		{name: "system:certificates.k8s.io:kubelet-serving-approver", rules: rules(on("approve", "certificates.k8s.io", "signers", "kubernetes.io/kubelet-serving"))},
		{name: "system:certificates.k8s.io:legacy-unknown-approver", rules: rules(on("approve", "certificates.k8s.io", "signers", "kubernetes.io/legacy-unknown"))},
	}
}

// controllerRules are broad, because garbage collection and the deletion of namespaces reach every kind. What they
// leave out matters: no exec, no impersonation, no granting of rights that are not held but for aggregation.
func controllerRules() []rbacv1.PolicyRule {
	return rules(
		on("get list watch patch update delete deletecollection", "*", "*"),
		events(),
		on("create", "core", "configmaps endpoints namespaces nodes persistentvolumeclaims persistentvolumes pods pods/eviction replicationcontrollers secrets serviceaccounts serviceaccounts/token"),
		on("create", "apps", "controllerrevisions daemonsets deployments replicasets statefulsets"),
		on("create", "batch", "cronjobs jobs"),
		on("create", "discovery.k8s.io", "endpointslices"),
		on("create", "coordination.k8s.io", "leases"),
		on("create", "autoscaling", "horizontalpodautoscalers"),
		on("create", "policy", "poddisruptionbudgets"),
		on("create", "resource.k8s.io", "resourceclaims"),
		on("create", "storage.k8s.io", "storageclasses volumeattachments"),
		on("create", "certificates.k8s.io", "certificatesigningrequests clustertrustbundles"),
		on("approve sign", "certificates.k8s.io", "signers"),
		on("attest", "certificates.k8s.io", "signers"),
		on("create", "authentication.k8s.io", "tokenreviews"),
		on("create", "authorization.k8s.io", "subjectaccessreviews"),
		on("escalate", "rbac.authorization.k8s.io", "clusterroles"),
		paths("get", "/metrics /healthz /livez /readyz"),
	)
}

func schedulerRules() []rbacv1.PolicyRule {
	return rules(
		events(),
		on("create", "coordination.k8s.io", "leases"), on("get list update watch", "coordination.k8s.io", "leases", "kube-scheduler"),
		on(read, "core", "nodes namespaces replicationcontrollers services"),
		on("get list watch delete", "core", "pods"),
		on("create", "core", "bindings pods/binding"),
		on("patch update", "core", "pods/status"),
		on(read, "apps extensions", "replicasets"), on(read, "apps", "statefulsets"),
		on(read, "policy", "poddisruptionbudgets"),
		on("get list watch update", "core", "persistentvolumeclaims persistentvolumes"),
		on(read, "storage.k8s.io", "csidrivers csinodes csistoragecapacities storageclasses volumeattachments"),
		on(read, "scheduling.k8s.io", "priorityclasses"),
		on(read, "resource.k8s.io", "deviceclasses resourceslices devicetaintrules"),
		on("get list watch patch update", "resource.k8s.io", "resourceclaims"), on("patch update", "resource.k8s.io", "resourceclaims/status"),
		on("create", "authentication.k8s.io", "tokenreviews"), on("create", "authorization.k8s.io", "subjectaccessreviews"),
	)
}

// nodeRoles are about nodes. A node's own rights come from the rules for nodes, which no role can express.
func nodeRoles() []roleSpec {
	return []roleSpec{
		{name: "system:node", rules: rules(
			on("create", "authentication.k8s.io", "tokenreviews"),
			on("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
			on(read, "core", "services"), on("create get list watch", "core", "nodes"), on("patch update", "core", "nodes/status nodes"),
			events(), on(read, "core", "pods"), on("create delete", "core", "pods"), on("patch update", "core", "pods/status"),
			on("create", "core", "pods/eviction serviceaccounts/token"), on(read, "core", "configmaps secrets"),
			on("get", "core", "persistentvolumeclaims persistentvolumes"), on("get patch update", "core", "persistentvolumeclaims/status"),
			on("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
			on("create delete get patch update", "coordination.k8s.io", "leases"), on("get", "storage.k8s.io", "volumeattachments"),
			on(read, "node.k8s.io", "runtimeclasses"), on(read, "storage.k8s.io", "csidrivers"),
			on("create delete get patch update", "storage.k8s.io", "csinodes"), on("get", "resource.k8s.io", "resourceclaims"))},
		{name: "system:node-bootstrapper", rules: rules(on("create get list watch", "certificates.k8s.io", "certificatesigningrequests"))},
		{name: "system:node-proxier", rules: rules(
			on("list watch", "core", "endpoints services"), on("get list watch", "core", "nodes"),
			on("list watch", "discovery.k8s.io", "endpointslices"), on("list watch", "networking.k8s.io", "servicecidrs"), events())},
		{name: "system:node-problem-detector", rules: rules(on("get", "core", "nodes"), on("patch", "core", "nodes/status"), events())},
		{name: "system:kubelet-api-admin", rules: rules(
			on(read, "core", "nodes"), on("proxy", "core", "nodes"),
			on("*", "core", "nodes/checkpoint nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/spec nodes/stats"))},
	}
}

// karveRoles are for Karve's own processes that have no counterpart in Kubernetes.
func karveRoles() []roleSpec {
	return []roleSpec{
		// What the gateway does for itself; for its clients it acts in their name.
		{name: "system:karve-gateway", rules: rules(paths("get", "/api /api/* /apis /apis/* /openapi /openapi/* /healthz /livez /readyz /metrics /version"))},
	}
}
