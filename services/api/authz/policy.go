package authz

// Verbs that go together in the tables below.
const (
	read      = "get list watch"
	write     = "create delete deletecollection patch update"
	readWrite = "create delete deletecollection get list patch update watch"
)

// clusterRoles are the ClusterRoles that a cluster starts with. It is a function so that nobody can change the tables.
func clusterRoles() []roleSpec {
	var out []roleSpec
	for _, part := range [][]roleSpec{everybodysRoles(), usersRoles(), componentRoles(), nodeRoles(), karveRoles()} {
		out = append(out, part...)
	}
	return out
}

// clusterRoleBindings bind them. Who is in system:masters is allowed everything before any role is looked at.
var clusterRoleBindings = []bindingSpec{
	{name: "cluster-admin", subjects: "group:system:masters"},
	{name: "system:monitoring", subjects: "group:system:monitoring"},
	{name: "system:discovery", subjects: "group:system:authenticated"},
	{name: "system:basic-user", subjects: "group:system:authenticated"},
	{name: "system:public-info-viewer", subjects: "group:system:authenticated group:system:unauthenticated"},
	{name: "system:service-account-issuer-discovery", subjects: "group:system:serviceaccounts"},
	{name: "system:kube-controller-manager", subjects: "user:system:kube-controller-manager"},
	{name: "system:kube-scheduler", subjects: "user:system:kube-scheduler"},
	{name: "system:volume-scheduler", subjects: "user:system:kube-scheduler"},
	{name: "system:kube-dns", subjects: "sa:kube-system/kube-dns"},
	{name: "system:node", subjects: ""},
	{name: "system:node-proxier", subjects: "user:system:kube-proxy"},
	{name: "system:karve-gateway", subjects: "user:system:karve-gateway"},
	// Who joins with a token may ask for a node's certificate and gets it; a node renews its own.
	{name: "system:karve-node-bootstrapper", role: "system:node-bootstrapper", subjects: "group:system:bootstrappers"},
	{name: "system:karve-node-autoapprove-bootstrap", role: "system:certificates.k8s.io:certificatesigningrequests:nodeclient", subjects: "group:system:bootstrappers"},
	{name: "system:karve-node-autoapprove-rotation", role: "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", subjects: "group:system:nodes"},
}

var namespaceRoles = map[string][]roleSpec{
	"kube-system": {
		{name: "extension-apiserver-authentication-reader", rules: rules(on(read, "core", "configmaps", "extension-apiserver-authentication"))},
		{name: "system::leader-locking-kube-controller-manager", rules: rules(
			on("watch", "core", "configmaps"), on("get update", "core", "configmaps", "kube-controller-manager"),
			on("create get list update watch", "coordination.k8s.io", "leases"))},
		{name: "system::leader-locking-kube-scheduler", rules: rules(
			on("watch", "core", "configmaps"), on("get update", "core", "configmaps", "kube-scheduler"),
			on("create get list update watch", "coordination.k8s.io", "leases"))},
		{name: "system:controller:token-cleaner", rules: rules(on("get list watch delete", "core", "secrets"), events())},
		{name: "system:controller:bootstrap-signer", rules: rules(on(read, "core", "secrets"))},
	},
	"kube-public": {
		{name: "system:cluster-info-reader", rules: rules(on("get", "core", "configmaps", "cluster-info"))},
		{name: "system:controller:bootstrap-signer", rules: rules(
			on(read, "core", "configmaps"), on("update", "core", "configmaps", "cluster-info"), events())},
	},
}

var namespaceRoleBindings = map[string][]bindingSpec{
	"kube-system": {
		{name: "system::extension-apiserver-authentication-reader", role: "extension-apiserver-authentication-reader", subjects: "user:system:kube-controller-manager user:system:kube-scheduler"},
		{name: "system::leader-locking-kube-controller-manager", subjects: "user:system:kube-controller-manager sa:kube-system/kube-controller-manager"},
		{name: "system::leader-locking-kube-scheduler", subjects: "user:system:kube-scheduler sa:kube-system/kube-scheduler"},
		{name: "system:controller:token-cleaner", subjects: "user:system:kube-controller-manager sa:kube-system/token-cleaner"},
		{name: "system:controller:bootstrap-signer", subjects: "user:system:kube-controller-manager sa:kube-system/bootstrap-signer"},
	},
	"kube-public": {
		{name: "system:cluster-info-reader", subjects: "group:system:authenticated group:system:unauthenticated"},
		{name: "system:controller:bootstrap-signer", subjects: "user:system:kube-controller-manager sa:kube-system/bootstrap-signer"},
	},
}
