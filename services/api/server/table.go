package server

import (
	"encoding/json"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/watch"
)

// tableOf is the table of one object.
func (sv *served) tableOf(it *item, as *apiv1.Representation, now time.Time) (*apiv1.Object, error) {
	row, err := sv.row(it, as, now)
	if err != nil {
		return nil, err
	}
	return sv.encodeTable(metav1.ListMeta{ResourceVersion: codec.FormatRevision(it.revision)}, []metav1.TableRow{row}, true)
}

func (sv *served) table(meta metav1.ListMeta, entries []*watch.Entry, as *apiv1.Representation, now time.Time, columns bool) (*apiv1.Object, error) {
	rows := make([]metav1.TableRow, len(entries))
	for i, e := range entries {
		it := entryItem(e)
		var err error
		if rows[i], err = sv.row(&it, as, now); err != nil {
			return nil, err
		}
	}
	return sv.encodeTable(meta, rows, columns)
}

// encodeTable writes a table; a watch sends the columns only once.
func (sv *served) encodeTable(meta metav1.ListMeta, rows []metav1.TableRow, columns bool) (*apiv1.Object, error) {
	table := &metav1.Table{ListMeta: meta, Rows: rows, ColumnDefinitions: []metav1.TableColumnDefinition{}}
	if columns {
		table.ColumnDefinitions = sv.Columns
	}
	data, err := codec.EncodeJSON(gvkTable, table)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return envelope(gvkTable, json_, data), nil
}

func (sv *served) row(it *item, as *apiv1.Representation, now time.Time) (metav1.TableRow, error) {
	obj, err := it.object(sv.Kind)
	if err != nil {
		return metav1.TableRow{}, err
	}
	row := metav1.TableRow{Cells: sv.Cells(obj, now)}
	var data json.RawMessage
	switch as.GetIncludeObject() {
	case includeNone:
		return row, nil
	case includeObject:
		body, err := sv.body(it)
		if err != nil {
			return row, err
		}
		data = codec.WithKind(sv.GroupVersionKind, body)
	default:
		if data, err = sv.metadata(it, json_); err != nil {
			return row, err
		}
	}
	row.Object = runtime.RawExtension{Raw: data}
	return row, nil
}
