package identity

import "strings"

// Groups and names of service accounts and nodes.
const (
	ServiceAccountPrefix       = "system:serviceaccount:"
	GroupServiceAccounts       = "system:serviceaccounts"
	serviceAccountsGroupPrefix = "system:serviceaccounts:"
)

// Keys of User.Extra that a service-account token fills.
const (
	ExtraPodName      = "authentication.kubernetes.io/pod-name"
	ExtraPodUID       = "authentication.kubernetes.io/pod-uid"
	ExtraNodeName     = "authentication.kubernetes.io/node-name"
	ExtraNodeUID      = "authentication.kubernetes.io/node-uid"
	ExtraCredentialID = "authentication.kubernetes.io/credential-id"
)

// ServiceAccountUser returns the user name of a service account.
func ServiceAccountUser(namespace, name string) string {
	return ServiceAccountPrefix + namespace + ":" + name
}

// SplitServiceAccount is the reverse of ServiceAccountUser.
func SplitServiceAccount(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, ServiceAccountPrefix)
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	return namespace, name, ok && namespace != "" && name != "" && !strings.Contains(name, ":")
}

// ServiceAccountGroups returns the groups that every service account of a namespace is in.
func ServiceAccountGroups(namespace string) []string {
	return []string{GroupServiceAccounts, serviceAccountsGroupPrefix + namespace}
}

// NodeName returns the node that a user is the agent of.
func NodeName(u User) (name string, ok bool) {
	name, ok = strings.CutPrefix(u.Name, NodePrefix)
	if !ok || name == "" {
		return "", false
	}
	for _, g := range u.Groups {
		if g == GroupNodes {
			return name, true
		}
	}
	return "", false
}

// User returns whom the token stands for, without the groups that everybody authenticated gets.
func (c Claims) User() User {
	u := User{
		Name: c.Subject, UID: c.ServiceAccount.UID, Groups: ServiceAccountGroups(c.Namespace),
		Extra: map[string][]string{},
	}
	if c.ID != "" {
		u.Extra[ExtraCredentialID] = []string{"JTI=" + c.ID}
	}
	if c.Pod != nil {
		u.Extra[ExtraPodName], u.Extra[ExtraPodUID] = []string{c.Pod.Name}, []string{c.Pod.UID}
	}
	if c.Node != nil {
		u.Extra[ExtraNodeName] = []string{c.Node.Name}
		if c.Node.UID != "" {
			u.Extra[ExtraNodeUID] = []string{c.Node.UID}
		}
	}
	return u
}
