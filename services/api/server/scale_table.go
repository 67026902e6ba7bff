package server

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/codec"
)

var scaleColumns = []metav1.TableColumnDefinition{
	{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]},
	{Name: "Desired", Type: "integer", Description: autoscalingv1.ScaleSpec{}.SwaggerDoc()["replicas"]},
	{Name: "Available", Type: "integer", Description: autoscalingv1.ScaleStatus{}.SwaggerDoc()["replicas"]},
	{Name: "Age", Type: "string", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]},
}

// encodeScale writes a Scale in the form that was asked for.
func (r *request) encodeScale(s *autoscalingv1.Scale, as *apiv1.Representation) (*apiv1.Object, error) {
	if as.GetForm() != apiv1.Form_FORM_TABLE {
		return encodeObject(gvkScale, s, as)
	}
	age := duration.HumanDuration(r.now.Sub(s.CreationTimestamp.Time))
	row := metav1.TableRow{Cells: []any{s.Name, int64(s.Spec.Replicas), int64(s.Status.Replicas), age}}
	var err error
	switch as.GetIncludeObject() {
	case includeNone:
	case includeObject:
		row.Object.Raw, err = codec.EncodeJSON(gvkScale, s)
	default:
		row.Object.Raw, err = codec.EncodeJSON(gvkPartial, &metav1.PartialObjectMetadata{ObjectMeta: s.ObjectMeta})
	}
	if err != nil {
		return nil, err
	}
	table := &metav1.Table{ListMeta: metav1.ListMeta{ResourceVersion: s.ResourceVersion}, ColumnDefinitions: scaleColumns, Rows: []metav1.TableRow{row}}
	data, err := codec.EncodeJSON(gvkTable, table)
	return envelope(gvkTable, json_, data), err
}
