package monitorapi

import "context"

// Told is what a node of a Citus formation was told of a group's place.
type Told struct {
	Group       int    `json:"group"`
	Incarnation uint64 `json:"incarnation"`
	Epoch       uint64 `json:"epoch"`
	Host        string `json:"host,omitempty"` // none for a group that has left
	Port        int    `json:"port,omitempty"`
}

// Outdone tells the monitor of places that nodes know under epochs which are newer than its own, or the same with another address: its data are older than the formation's.
// It returns for how many groups the monitor has raised its epoch above that. A group whose record is not proved is left alone.
func (c *Client) Outdone(ctx context.Context, formation string, places []Told) (raised int, err error) {
	var answer struct {
		Raised int `json:"raised"`
	}
	err = c.call(ctx, &answer, "outdone", formation, places)
	return answer.Raised, err
}
