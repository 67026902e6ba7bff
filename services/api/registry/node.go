package registry

import (
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"karve.dev/karve/internal/conditions"
)

func node() *Kind {
	return define(Spec[*corev1.Node]{
		GVK: core("Node"), Resource: "nodes", Singular: "node", ShortNames: []string{"no"},
		New:     func() *corev1.Node { return &corev1.Node{} },
		NewList: func() runtime.Object { return &corev1.NodeList{} },
		Life:    specAndStatus(func(o *corev1.Node) (*corev1.NodeSpec, *corev1.NodeStatus) { return &o.Spec, &o.Status }),
		Default: defaultNode,
		// A node that registers brings its status along.
		PrepareCreate:  func(*corev1.Node) {},
		Validate:       validateNode,
		ValidateUpdate: validateNodeUpdate,
		ValidateStatus: validateNodeStatus,
		Columns:        columns("Name|Status|Roles|Age|Version|+Internal-IP|+External-IP|+OS-Image|+Kernel-Version|+Container-Runtime"),
		Cells: func(n *corev1.Node, now time.Time) []any {
			info := n.Status.NodeInfo
			return []any{n.Name, nodeStatus(n), orNone(strings.Join(nodeRoles(n), ",")), age(n.CreationTimestamp, now), info.KubeletVersion,
				nodeAddress(n, corev1.NodeInternalIP), nodeAddress(n, corev1.NodeExternalIP),
				orUnknown(info.OSImage), kernel(&info), orUnknown(info.ContainerRuntimeVersion)}
		},
		Fields: func(n *corev1.Node) fields.Set {
			return fields.Set{"spec.unschedulable": strconv.FormatBool(n.Spec.Unschedulable)}
		},
		Subresources: []Subresource{{Name: "proxy", Kind: core("NodeProxyOptions"), Verbs: proxyVerbs}},
	})
}

// kernel names the kernel with the processor that it runs on.
func kernel(info *corev1.NodeSystemInfo) string {
	if info.Architecture == "" {
		return orUnknown(info.KernelVersion)
	}
	return orUnknown(info.KernelVersion) + " (" + info.Architecture + ")"
}

// proxyVerbs are the verbs by which discovery lists a proxy subresource.
var proxyVerbs = []string{"create", "delete", "get", "patch", "update"}

func nodeStatus(n *corev1.Node) string {
	status := "Unknown"
	switch c := conditions.Node(n, corev1.NodeReady); {
	case c == nil:
	case c.Status == corev1.ConditionTrue:
		status = "Ready"
	default:
		status = "NotReady"
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

// nodeRoles reads the roles out of the two label forms that are in use.
func nodeRoles(n *corev1.Node) []string {
	var roles []string
	for k, v := range n.Labels {
		role, isRole := strings.CutPrefix(k, "node-role.kubernetes.io/")
		if !isRole && k == "kubernetes.io/role" {
			role = v
		} else if !isRole {
			continue
		}
		if role != "" {
			roles = append(roles, role)
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

func nodeAddress(n *corev1.Node, t corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == t {
			return a.Address
		}
	}
	return none
}
