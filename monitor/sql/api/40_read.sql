-- What changes nothing (P7).

create or replace function autoctl.node_state(n autoctl.node, serving bigint) returns jsonb
language sql stable as $$
  select jsonb_build_object(
    'node_id', n.id, 'name', n.name, 'group', n.grp, 'host', n.host, 'port', n.port,
    'slot', 'autoctl_standby_' || n.id || '_' || n.token,
    'reported_state', coalesce(r.report->>'state', 'init'), 'assigned_state', coalesce(n.goal->>'state', 'init'),
    'health', coalesce((select p.health from autoctl.probe p where p.node = n.id), 'unknown'),
    'timeline', coalesce(nullif(r.report->'server'->'timeline', '0'), r.report->'position'->'timeline', '0'),
    'lsn', coalesce(r.report->'position'->>'lsn', '0/0'),
    'connection', case
      when r.report->'server'->>'status' is distinct from 'running' then 'none'
      when (r.report->'server'->>'recovery')::boolean then 'read-only'
      when (r.report->>'open')::boolean then 'read-write'
      else 'none' end,
    'candidate_priority', n.priority, 'replication_quorum', n.quorum, 'proxy_port', n.proxy_port, 'citus_cluster', n.cluster,
    'server', coalesce(r.report->'server'->>'status', ''), 'open', coalesce((r.report->>'open')::boolean, false),
    'maintenance', n.maintenance, 'dropping', n.dropping,
    'report_age_ms', coalesce((extract(epoch from clock_timestamp() - r.received) * 1000)::bigint, -1),
    'lag_bytes', coalesce((
      select (e->>'lag_bytes')::bigint
      from autoctl.report x, jsonb_array_elements(case jsonb_typeof(x.report->'standbys') when 'array' then x.report->'standbys' else '[]' end) e
      where x.node = serving and (e->>'node')::bigint = n.id limit 1), -1),
    'version', coalesce((r.report->>'version')::integer, 0), 'software', coalesce(r.report->>'software', ''),
    'activity', r.report->'activity', 'problem', r.report->'problem')
  from (select n.id) one left join autoctl.report r on r.node = n.id
$$;

create or replace function autoctl.group_state(g autoctl.grp) returns jsonb
language sql stable as $$
  select jsonb_build_object(
    'group', g.number, 'system_id', g.system_id, 'epoch', g.epoch, 'sequence', g.seq, 'incarnation', g.incarnation,
    'unproven', g.unproven, 'number_sync_standbys', g.number_sync, 'election', g.election, 'record', g.record, 'orders', g.orders,
    'nodes', coalesce((
      select jsonb_agg(autoctl.node_state(n, (g.record->-1->'primary'->>'node')::bigint) order by n.id)
      from autoctl.node n where n.formation = g.formation and n.grp = g.number), '[]'))
$$;

create or replace function autoctl.state(protocol integer, f text, g integer) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform autoctl.check_protocol(protocol);
  if f <> '' and not exists (select from autoctl.formation where name = f) then
    perform autoctl.fail('AC002', format('the monitor knows no formation %L', f));
  end if;
  return (select jsonb_build_object(
    'monitor', jsonb_build_object(
      'software', m.software, 'protocol', 1, 'incarnation', m.incarnation, 'time', clock_timestamp(),
      'decider_age_ms', coalesce((select (extract(epoch from clock_timestamp() - p.at) * 1000)::bigint from autoctl.pulse p), -1)),
    'formations', coalesce((
      select jsonb_agg(jsonb_build_object(
        'name', fo.name, 'kind', fo.kind, 'database', fo.database, 'databases', autoctl.more_databases(fo.name), 'paused', fo.paused,
        'number_sync_standbys', coalesce((select min(x.number_sync) from autoctl.grp x where x.formation = fo.name), fo.number_sync),
        'groups', coalesce((
          select jsonb_agg(autoctl.group_state(x) order by x.number)
          from autoctl.grp x where x.formation = fo.name and (g < 0 or x.number = g)), '[]')) order by fo.name)
      from autoctl.formation fo where f = '' or fo.name = f), '[]'))
    from autoctl.monitor m);
end $$;

create or replace function autoctl.events(protocol integer, filter jsonb) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform autoctl.check_protocol(protocol);
  return (select coalesce(jsonb_agg(jsonb_build_object(
      'id', e.id, 'time', e.at, 'formation', e.formation, 'group', e.grp, 'node', e.node, 'name', e.name, 'kind', e.kind,
      'rule', e.rule, 'reason', e.reason, 'reported', e.reported, 'assigned', e.assigned, 'stamp', e.stamp) order by e.id), '[]')
    from (
      select * from autoctl.event x
      where (coalesce(filter->>'formation', '') = '' or x.formation = filter->>'formation')
        and (filter->>'group' is null or x.grp = (filter->>'group')::integer)
        and (coalesce((filter->>'node')::bigint, 0) = 0 or x.node = (filter->>'node')::bigint)
        and x.id > coalesce((filter->>'after')::bigint, 0)
      order by x.id desc limit coalesce(nullif((filter->>'count')::integer, 0), 20)) e);
end $$;

create or replace function autoctl.formations(protocol integer) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform autoctl.check_protocol(protocol);
  return (select coalesce(jsonb_agg(jsonb_build_object(
      'name', f.name, 'kind', f.kind, 'database', f.database, 'number_sync_standbys', f.number_sync, 'paused', f.paused,
      'nodes', (select count(*) from autoctl.node n where n.formation = f.name)) order by f.name), '[]')
    from autoctl.formation f);
end $$;

create or replace function autoctl.settings(protocol integer) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform autoctl.check_protocol(protocol);
  return (select s.settings from autoctl.settings s);
end $$;

create or replace function autoctl.node_by_name(protocol integer, f text, name text) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  n autoctl.node;
begin
  perform autoctl.check_protocol(protocol);
  select x.* into n from autoctl.node x where x.formation = f and x.name = node_by_name.name;
  if not found then
    perform autoctl.fail('AC002', format('formation %L has no node named %L', f, node_by_name.name), 'list them: autoctl show state');
  end if;
  return autoctl.node_state(n, (select (g.record->-1->'primary'->>'node')::bigint from autoctl.grp g
    where g.formation = n.formation and g.number = n.grp));
end $$;

create or replace function autoctl.timelines(protocol integer, f text, g integer) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform autoctl.check_protocol(protocol);
  perform autoctl.check_group(f, g);
  return (select jsonb_build_object('formation', x.formation, 'group', x.number, 'orders', x.orders, 'nodes', coalesce((
      select jsonb_agg(jsonb_build_object('node_id', n.id, 'name', n.name,
        'timeline', coalesce(nullif(r.report->'server'->'timeline', '0'), r.report->'position'->'timeline', '0'),
        'lsn', coalesce(r.report->'position'->>'lsn', '0/0'), 'promotions', coalesce(r.report->'promotions', '[]')) order by n.id)
      from autoctl.node n left join autoctl.report r on r.node = n.id
      where n.formation = x.formation and n.grp = x.number), '[]'))
    from autoctl.grp x where x.formation = f and x.number = g);
end $$;

-- explain_input adds what the decision loop alone sees: instants of its clock, from its last sign of life and from the times of reports.
create or replace function autoctl.explain_input(protocol integer, f text, g integer) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  snapshot jsonb;
  p        autoctl.pulse;
  moment   bigint;
begin
  perform autoctl.check_protocol(protocol);
  perform autoctl.check_group(f, g);
  snapshot := autoctl.group_snapshot(f, g);
  select * into p from autoctl.pulse;
  -- Without a sign of life any clock will do: an hour after its start no age is negative.
  moment := coalesce(p.instant + (extract(epoch from clock_timestamp() - p.at) * 1e9)::bigint, 3600000000000);
  return jsonb_build_object('now', moment, 'decider_age_ms', coalesce((extract(epoch from clock_timestamp() - p.at) * 1000)::bigint, -1), 'group', snapshot || jsonb_build_object(
    'since', coalesce(p.since, 0),
    'nodes', coalesce((
      select jsonb_agg(e || jsonb_build_object(
        'heard', coalesce(greatest(moment - (extract(epoch from clock_timestamp() - r.received) * 1e9)::bigint, 0), -1),
        'probed', coalesce(case when p.life is not null then q.probed end, -1)) order by (e->>'id')::bigint)
      from jsonb_array_elements(snapshot->'nodes') e
      left join autoctl.report r on r.node = (e->>'id')::bigint
      left join autoctl.probe q on q.node = (e->>'id')::bigint), '[]')));
end $$;

-- topology tells where the groups of a formation are served. A group whose last node was dropped is there and gone; one that this monitor never knew, or
-- of which it cannot prove what it remembers, is not there. A place has a greater epoch than those of its group before it.
create or replace function autoctl.topology(protocol integer, f text) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform autoctl.check_protocol(protocol);
  if not exists (select from autoctl.formation where name = f) then
    perform autoctl.fail('AC002', format('the monitor knows no formation %L', f));
  end if;
  return (select jsonb_build_object('formation', fo.name, 'kind', fo.kind, 'database', fo.database, 'databases', autoctl.more_databases(fo.name),
    'epoch', coalesce((select sum(g.served_version) from autoctl.grp g where g.formation = fo.name), 0),
    'groups', coalesce((
      select jsonb_agg(jsonb_build_object('group', g.number, 'incarnation', greatest(g.incarnation, g.served_incarnation), 'epoch', g.served_version, 'system_id', g.system_id,
        'node_id', g.served_by, 'name', coalesce(n.name, ''), 'host', g.served_host, 'port', g.served_port, 'proxy_port', g.served_proxy, 'gone', g.served_by = 0,
        'handing', coalesce((g.election->>'hold')::boolean, false),
        'replicas', case when g.replicas or fo.kind = 'citus' and s.settings->>'citus_standbys' = '1' then coalesce((
          select jsonb_agg(jsonb_build_object('node_id', x.id, 'name', x.name, 'host', x.host, 'port', x.port, 'cluster', x.cluster) order by x.id)
          from autoctl.node x left join autoctl.report xr on xr.node = x.id
          where x.formation = g.formation and x.grp = g.number and not x.dropping and x.id <> g.served_by
            and case when x.cluster <> '' then x.followed else s.settings->>'citus_standbys' = '1' and xr.report->>'state' = 'secondary' and x.goal->>'state' = 'secondary' end), '[]') end,
        'open', coalesce((r.report->>'open')::boolean, false) and coalesce((n.goal->>'state') in ('single', 'wait_primary', 'primary'), false)) order by g.number)
      from autoctl.grp g left join autoctl.node n on n.id = g.served_by and n.formation = g.formation left join autoctl.report r on r.node = n.id, autoctl.settings s
      where g.formation = fo.name and g.served_version > 0 and not g.unproven), '[]'))
    from autoctl.formation fo where fo.name = f);
end $$;
