-- outdone hears from a keeper which places some node of its formation was told of under epochs that are newer than what this monitor says, or the same with another address.
-- A node takes nothing older, so that places of this monitor get greater epochs. A group whose record is not proved is told of by nobody, and waits for that. One whose serving node
-- this monitor does not hear, or that obeys another, may have another monitor by now, whose word it then was: two monitors would raise each other without end. And what no monitor
-- can have reached by deciding is nobody's word.
create or replace function autoctl.outdone(protocol integer, f text, places jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  p record;
  g autoctl.grp;
  n autoctl.node;
  raised integer := 0;
begin
  perform autoctl.check_protocol(protocol);
  for p in
    select (e->>'group')::integer as grp, (e->>'incarnation')::bigint as incarnation, (e->>'epoch')::bigint as epoch,
      coalesce(e->>'host', '') as host, coalesce((e->>'port')::integer, 0) as port
    from jsonb_array_elements(places) e order by 1
  loop
    update autoctl.grp x set
      served_incarnation = greatest(x.served_incarnation, x.incarnation, p.incarnation),
      served_version = greatest(x.served_version, case when p.incarnation >= greatest(x.served_incarnation, x.incarnation) then p.epoch else 0 end) + 1
    where x.formation = f and x.number = p.grp and x.served_version > 0 and not x.unproven and p.epoch < x.served_version + 1e12
      and (x.served_by = 0 or exists (select from autoctl.report r, autoctl.settings s where r.node = x.served_by and (r.report->'obeyed'->>'incarnation')::bigint = x.incarnation
        and r.received > clock_timestamp() - (s.settings->>'node_lost_after_ms')::float8 * '1 ms'::interval))
      and (row(greatest(x.served_incarnation, x.incarnation), x.served_version) < row(p.incarnation, p.epoch)
        or row(greatest(x.served_incarnation, x.incarnation), x.served_version) = row(p.incarnation, p.epoch)
          and case when x.served_by = 0 then (p.host, p.port) <> ('', 0) else (p.host, p.port) <> (x.served_host, x.served_port) end)
    returning * into g;
    continue when not found;
    raised := raised + 1;
    insert into autoctl.event (formation, grp, node, name, kind, rule, reason, reported, assigned)
    values (f, p.grp, 0, '', 'outdone', 'topology',
      format('a node of the formation was told of the place %s under epoch %s.%s: this monitor''s is %s.%s from now on',
        coalesce(nullif(p.host, '') || ':' || p.port, 'of nobody'), p.incarnation, p.epoch, g.served_incarnation, g.served_version), '', '');
    n := null;
    select * into n from autoctl.node x where x.id = g.served_by;
    n.formation := f;
    n.grp := p.grp;
    perform autoctl.announce(n, '', 'outdone', 'a node knew a newer epoch of the group''s place');
  end loop;
  return jsonb_build_object('raised', raised);
end $$;
