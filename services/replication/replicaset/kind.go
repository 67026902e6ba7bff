package replicaset

import (
	appsv1 "k8s.io/api/apps/v1"

	"karve.dev/karve/internal/client"
)

// Kind says how objects of a kind are ReplicaSets.
type Kind[T client.Object] struct {
	Name string
	// Component is the controller's name in events and logs.
	Component string
	New       func() client.Object
	// AsSet returns a view of the object as a ReplicaSet. Neither is changed through the other.
	AsSet func(T) *appsv1.ReplicaSet
	// SetStatus writes a status into an object that is the caller's own.
	SetStatus func(T, appsv1.ReplicaSetStatus)
	// Terminating says that the kind's status counts pods that are being stopped.
	Terminating bool
}

var sets = Kind[*appsv1.ReplicaSet]{
	Name: "ReplicaSet", Component: "replicaset-controller", Terminating: true,
	New:       func() client.Object { return &appsv1.ReplicaSet{} },
	AsSet:     func(rs *appsv1.ReplicaSet) *appsv1.ReplicaSet { return rs },
	SetStatus: func(rs *appsv1.ReplicaSet, s appsv1.ReplicaSetStatus) { rs.Status = s },
}
