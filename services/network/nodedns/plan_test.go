package nodedns

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTheSliceNamesTheServersOfNodes(t *testing.T) {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-dns"},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.10", Ports: []corev1.ServicePort{{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53}}},
	}
	node := func(name, pods string, ready corev1.ConditionStatus) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDR: pods},
			Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}},
		}
	}
	s := plan(service, []*corev1.Node{node("n2", "10.244.1.0/24", corev1.ConditionUnknown), node("n1", "10.244.0.0/24", corev1.ConditionTrue), node("n3", "", corev1.ConditionTrue)})
	require.Equal(t, discoveryv1.AddressTypeIPv4, s.AddressType)
	require.Len(t, s.Endpoints, 2, "n3 has no addresses yet")
	require.Equal(t, []string{"10.244.0.1"}, s.Endpoints[0].Addresses)
	require.True(t, *s.Endpoints[0].Conditions.Ready)
	require.Equal(t, []string{"10.244.1.1"}, s.Endpoints[1].Addresses)
	require.False(t, *s.Endpoints[1].Conditions.Ready)
	require.EqualValues(t, 53, *s.Ports[0].Port)

	service.Spec.Selector = map[string]string{"k8s-app": "kube-dns"}
	require.Nil(t, plan(service, nil), "it has pods of its own")
	require.Nil(t, plan(nil, nil))
}
