package explore

import "github.com/autoctl/autoctl/fsm"

func (w *World) applyCommand(k kind, a int) bool {
	if w.commands == 0 || !w.mayOverlap() {
		return false
	}
	w.commands--
	switch k {
	case evAdd:
		return w.add(a)
	case evPause:
		w.group.Paused = !w.group.Paused
		w.react()
		return true
	default:
	}
	c, ok := w.command(k, a)
	if !ok {
		return false
	}
	w.excused = w.excused || k != evFailover && k != evPromote && k != evHandOver && k != evRebuild
	w.group.Commands = []fsm.Command{c}
	w.react()
	for _, answer := range w.answers {
		if answer.Outcome == fsm.OutcomeRefused || answer.Outcome == fsm.OutcomeNothing {
			return false
		}
	}
	return true
}

// command is what an operator types.
func (w *World) command(k kind, a int) (fsm.Command, bool) {
	c := fsm.Command{ID: 1, Node: w.hosts[a].mem.Node}
	node, ok := w.peek(a)
	switch k {
	case evFailover, evForce:
		c.Kind, c.Node, c.AllowDataLoss = fsm.CommandFailover, 0, k == evForce
		ok = true
	case evPromote:
		c.Kind = fsm.CommandPromotion
	case evMaintain:
		c.Kind, c.AllowFailover = fsm.CommandMaintenance, true
	case evBack:
		c.Kind = fsm.CommandReturn
	case evQuorum:
		c.Kind, c.Flag = fsm.CommandQuorum, ok && !node.Quorum
	case evPriority:
		c.Kind = fsm.CommandPriority
		if ok && node.Priority == 0 {
			c.Number = 50
		}
	case evNumber:
		c.Kind, c.Node, c.Number = fsm.CommandNumberSync, 0, a
	case evDrop, evStrike:
		c.Kind, c.Force = fsm.CommandDrop, k == evStrike
	case evHandOver:
		c.Kind = fsm.CommandHandOver
	default:
		c.Kind = fsm.CommandRebuild
	}
	return c, ok
}
