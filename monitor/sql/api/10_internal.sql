-- What the API functions share. Nobody but the owner may execute these.

-- check_protocol refuses clients of another protocol; the codes of class AC are read by package monitorapi. It refuses everybody until
-- the monitor has opened this run of the server: a restored memory must not speak before it is known to be one (S9).
create or replace function autoctl.check_protocol(protocol integer) returns void
language plpgsql stable as $$
begin
  if protocol is distinct from 1 then
    raise exception using errcode = 'AC001',
      message = format('the monitor speaks protocol 1 and the client speaks protocol %s', protocol),
      hint = 'upgrade the older of the two; one minor version apart is fine';
  end if;
  if not exists (select from autoctl.opened o where o.started = pg_postmaster_start_time()) then
    raise exception using errcode = 'cannot_connect_now', message = 'the monitor is starting up';
  end if;
end $$;

create or replace function autoctl.fail(code text, message text, hint text default '') returns void
language plpgsql as $$
begin
  raise exception using errcode = code, message = message, hint = hint;
end $$;

-- wake asks the decision loop to look at a group once this transaction has committed.
create or replace function autoctl.wake(f text, g integer) returns void
language sql as $$
  select pg_notify('autoctl_decide', json_build_object('formation', f, 'group', g)::text)
$$;

create or replace function autoctl.wake_formation(f text) returns void
language sql as $$
  select autoctl.wake(formation, number) from autoctl.grp where formation = f or f is null
$$;

-- note_served keeps where the group is served, and counts the changes; 0 for a group whose last node has left.
create or replace function autoctl.note_served(f text, g integer) returns void
language sql as $$
  update autoctl.grp x set served_by = 0, served_version = greatest(x.served_version + 1, x.seq)
  where x.formation = f and x.number = g and x.served_by <> 0 and not exists (select from autoctl.node n where n.formation = f and n.grp = g);
  update autoctl.grp x set served_by = n.id, served_host = n.host, served_port = n.port, served_proxy = n.proxy_port,
    served_version = greatest(x.served_version + 1, x.seq)
  from autoctl.node n
  where x.formation = f and x.number = g and n.id = (x.record->-1->'primary'->>'node')::bigint and n.formation = f
    and (x.served_by, x.served_host, x.served_port, x.served_proxy) is distinct from (n.id, n.host, n.port, n.proxy_port)
$$;

-- wake_fellows looks at all groups of a Citus formation: each admits the nodes of the others.
create or replace function autoctl.wake_fellows(f text) returns void
language sql as $$
  select autoctl.wake(g.formation, g.number) from autoctl.grp g join autoctl.formation fo on fo.name = g.formation
  where g.formation = f and fo.kind = 'citus'
$$;

-- announce tells those who watch. A notification holds less than 8000 bytes.
create or replace function autoctl.announce(n autoctl.node, reported text, event text, reason text) returns void
language sql as $$
  select pg_notify('autoctl_change', json_build_object(
    'time', clock_timestamp(), 'formation', n.formation, 'group', n.grp, 'node', n.id, 'name', n.name, 'host', n.host,
    'port', n.port, 'reported', reported, 'assigned', coalesce(n.goal->>'state', 'init'), 'event', event,
    'text', left(reason, 1000))::text)
$$;

-- material leaves out of a report what changes with every heartbeat, and keeps on which side of each threshold it is. A position
-- matters only while votes are counted.
create or replace function autoctl.material(r jsonb, s jsonb, voting boolean) returns jsonb
language plpgsql immutable as $$
declare
  seen text := '';
  e    jsonb;
begin -- without a query: that would cost more than all else in a report
  if jsonb_typeof(r->'standbys') = 'array' then
    for i in 0..jsonb_array_length(r->'standbys') - 1 loop
      e := r->'standbys'->i;
      seen := seen || format('%s %s %s %s %s;', e->>'node', e->>'streaming',
        (e->>'lag_bytes')::bigint < (s->>'catchup_bytes')::bigint,
        coalesce((e->>'lost_ms')::bigint, 0) = 0,
        coalesce((e->>'lost_ms')::bigint, 0) >= (s->>'replication_stall_after_ms')::bigint);
    end loop;
  end if;
  return (r - '{position,standbys,primary_seen_ms,commit_age_ms,activity,problem}'::text[]) || jsonb_build_object(
    'position', case when voting then r->'position' else (r->'position') - 'lsn' end,
    'hung', (r->>'commit_age_ms')::bigint > (s->>'storage_hung_after_ms')::bigint,
    'seen', (r->>'primary_seen_ms')::bigint between 0 and (s->>'node_lost_after_ms')::bigint,
    'activity', r->'activity'->'kind',
    'problem', r->'problem'->'code',
    'standbys', seen);
end $$;

-- more_databases lists the databases of a formation beside its first one.
create or replace function autoctl.more_databases(f text) returns jsonb
language sql stable as $$
  select jsonb_agg(d.name order by d.name collate "C") from autoctl.formation_database d where d.formation = f
$$;

-- group_snapshot is a group as fsm.Group reads it, beats added and the monitor's own views left out. Called after the group's row
-- was locked, each part is read as it is then.
create or replace function autoctl.group_snapshot(f text, g integer) returns jsonb
language plpgsql stable as $$
begin -- of the languages, the one that keeps plans
  return (select jsonb_build_object(
    'formation', grp.formation, 'number', grp.number, 'kind', fo.kind, 'database', fo.database, 'system_id', grp.system_id,
    'incarnation', grp.incarnation, 'epoch', grp.epoch, 'seq', grp.seq, 'record', grp.record, 'orders', grp.orders,
    'number_sync', grp.number_sync, 'paused', fo.paused, 'unproven', grp.unproven, 'election', grp.election,
    'unplanned', grp.unplanned, 'life', grp.life, 'settings', (select settings from autoctl.settings),
    'databases', autoctl.more_databases(fo.name),
    'founded', fo.kind = 'citus' and exists (select from autoctl.node n where n.formation = grp.formation and n.grp = 0),
    'fellows', case when fo.kind = 'citus' then (
      select jsonb_agg(jsonb_build_object('node', n.id, 'group', n.grp, 'host', n.host, 'port', n.port) order by n.id)
      from autoctl.node n where n.formation = grp.formation and n.grp <> grp.number) end,
    'nodes', coalesce((
      select jsonb_agg(jsonb_build_object(
        'id', n.id, 'name', n.name, 'host', n.host, 'port', n.port, 'token', n.token, 'priority', n.priority,
        'quorum', n.quorum, 'cluster', n.cluster, 'has_data', n.has_data, 'maintenance', n.maintenance, 'dropping', n.dropping,
        'forced', n.forced, 'leaving', n.leaving, 'stopped', n.stopped, 'min_generation', n.min_generation, 'returns', n.returns, 'hold_until', n.hold_until,
        'goal', coalesce(n.goal, jsonb_build_object('state', 'init')), 'untold', n.goal is distinct from n.told,
        'report', r.report, 'beats', coalesce(r.beats, 0), 'heard', -1, 'probed', -1, 'up', 0) order by n.id)
      from autoctl.node n left join autoctl.report r on r.node = n.id
      where n.formation = grp.formation and n.grp = grp.number), '[]'),
    'commands', (
      select jsonb_agg(c.command || jsonb_build_object('id', c.id) order by c.id)
      from autoctl.command c where c.formation = grp.formation and c.grp = grp.number and not c.consumed))
  from autoctl.grp join autoctl.formation fo on fo.name = grp.formation
  where grp.formation = f and grp.number = g);
end $$;

-- store writes what Decide concluded: d is fsm.Decision, taken the ids of the commands that Decide was given. The caller holds the
-- lock of the group's row.
create or replace function autoctl.store(f text, g integer, life_now text, d jsonb, taken bigint[]) returns void
language plpgsql as $$
declare
  new jsonb := d->'group';
begin
  update autoctl.grp set
    system_id = (new->>'system_id')::numeric, incarnation = (new->>'incarnation')::bigint, epoch = (new->>'epoch')::bigint,
    seq = (new->>'seq')::bigint, number_sync = (new->>'number_sync')::integer, unproven = (new->>'unproven')::boolean,
    record = coalesce(nullif(new->'record', 'null'), '[]'), orders = coalesce(nullif(new->'orders', 'null'), '[]'),
    election = nullif(new->'election', 'null'), unplanned = nullif(new->'unplanned', 'null'), life = life_now, decisions = decisions + 1
  where formation = f and number = g;
  update autoctl.monitor set incarnation = (new->>'incarnation')::bigint where incarnation < (new->>'incarnation')::bigint;
  update autoctl.node n set
    priority = (e->>'priority')::integer, quorum = (e->>'quorum')::boolean,
    maintenance = coalesce((e->>'maintenance')::boolean, false), dropping = coalesce((e->>'dropping')::boolean, false),
    forced = coalesce((e->>'forced')::boolean, false), leaving = coalesce((e->>'leaving')::bigint, 0),
    stopped = coalesce((e->>'stopped')::boolean, false),
    min_generation = coalesce((e->>'min_generation')::bigint, 0), returns = coalesce((e->>'returns')::integer, 0),
    hold_until = coalesce((e->>'hold_until')::bigint, 0),
    goal = case when e->'goal'->>'state' in ('init', '') then n.goal else e->'goal' end
  from jsonb_array_elements(nullif(new->'nodes', 'null')) e
  where n.id = (e->>'id')::bigint and n.formation = f and n.grp = g;
  insert into autoctl.event (formation, grp, node, name, kind, rule, reason, reported, assigned, stamp)
  select f, g, coalesce((e->>'node')::bigint, 0), coalesce(n.name, ''), e->>'kind', e->>'rule', e->>'reason',
    coalesce(r.report->>'state', ''), coalesce(e->>'assigned', ''), e->'stamp'
  from jsonb_array_elements(nullif(d->'events', 'null')) with ordinality x(e, i)
  left join autoctl.node n on n.id = (e->>'node')::bigint
  left join autoctl.report r on r.node = n.id
  order by i;
  update autoctl.command set consumed = true where id = any (taken);
  update autoctl.command c set answer = e, answered = clock_timestamp()
  from jsonb_array_elements(nullif(d->'answers', 'null')) e where c.id = (e->>'command')::bigint;
  delete from autoctl.report where node in (select x::bigint from jsonb_array_elements_text(nullif(d->'forget', 'null')) x);
  delete from autoctl.probe where node in (select x::bigint from jsonb_array_elements_text(nullif(d->'forget', 'null')) x);
  insert into autoctl.departed (id, token, name)
    select n.id, n.token, n.name from autoctl.node n
    where n.formation = f and n.grp = g and n.id in (select x::bigint from jsonb_array_elements_text(nullif(d->'forget', 'null')) x)
    on conflict (id) do update set token = excluded.token, name = excluded.name, dropped = excluded.dropped;
  delete from autoctl.node where formation = f and grp = g
    and id in (select x::bigint from jsonb_array_elements_text(nullif(d->'forget', 'null')) x);
  if found then
    perform autoctl.wake_fellows(f);
  end if;
  perform autoctl.note_served(f, g);
end $$;

-- proof is what the incarnation file is compared with: how many decisions are stored, and the incarnation.
create or replace function autoctl.proof(out decisions bigint, out incarnation bigint)
language sql stable as $$
  select m.retired + coalesce((select sum(g.decisions) from autoctl.grp g), 0)::bigint, m.incarnation from autoctl.monitor m
$$;

-- note_milestones writes down when the monitor heard of what a failover is timed by: that a server failed, and that clients are admitted.
create or replace function autoctl.note_milestones(n autoctl.node, was jsonb, now jsonb) returns void
language plpgsql as $$
declare
  status text := now->'server'->>'status';
begin
  if was is null then
    return; -- the monitor has just started: it is no news
  end if;
  if status in ('crashed', 'hung') and was->'server'->>'status' is distinct from status then
    insert into autoctl.event (formation, grp, node, name, kind, rule, reason, reported, assigned, stamp)
    values (n.formation, n.grp, n.id, n.name, 'server', 'report', format('its server is %s', case status when 'hung' then 'hung' else 'down, and nobody asked for that' end),
      now->>'state', coalesce(n.goal->>'state', 'init'), now->'obeyed');
  end if;
  if coalesce((now->>'open')::boolean, false) and not coalesce((was->>'open')::boolean, false) then
    insert into autoctl.event (formation, grp, node, name, kind, rule, reason, reported, assigned, stamp)
    values (n.formation, n.grp, n.id, n.name, 'open', 'report', 'it admits clients', now->>'state', coalesce(n.goal->>'state', 'init'), now->'obeyed');
  end if;
end $$;

-- publish lets nodes, watchers and operators hear what was decided. The caller has made the decision durable, and its proof, before.
create or replace function autoctl.publish(f text, g integer, d jsonb) returns void
language plpgsql as $$
declare
  n autoctl.node;
  e jsonb;
begin
  for n in
    update autoctl.node set told = goal
    where formation = f and grp = g and goal is not null and goal is distinct from told returning *
  loop
    perform pg_notify('autoctl_goal_' || n.id,
      case when octet_length(n.goal::text) < 7500 then n.goal::text
      else json_build_object('incarnation', n.goal->'incarnation', 'epoch', n.goal->'epoch', 'seq', n.goal->'seq')::text end);
    perform autoctl.announce(n, coalesce((select r.report->>'state' from autoctl.report r where r.node = n.id), 'init'), 'goal', '');
    if n.goal->>'state' in ('single', 'wait_primary', 'primary')
        and exists (select from autoctl.grp x where x.formation = f and x.number = g and (x.election->>'candidate')::bigint = n.id) then
      insert into autoctl.event (formation, grp, node, name, kind, rule, reason, assigned, stamp)
      values (f, g, n.id, n.name, 'told', 'publish', 'it hears that it is chosen', n.goal->>'state',
        jsonb_build_object('incarnation', n.goal->'incarnation', 'epoch', n.goal->'epoch', 'seq', n.goal->'seq'));
    end if;
  end loop;
  for e in select x from jsonb_array_elements(nullif(d->'events', 'null')) x where x->>'kind' <> 'goal' loop
    select * into n from autoctl.node x where x.id = (e->>'node')::bigint;
    n.formation := f;
    n.grp := g;
    n.id := coalesce((e->>'node')::bigint, 0);
    n.name := coalesce(n.name, '');
    n.host := coalesce(n.host, '');
    n.port := coalesce(n.port, 0);
    perform autoctl.announce(n, coalesce((select r.report->>'state' from autoctl.report r where r.node = n.id), ''),
      e->>'kind', e->>'reason');
  end loop;
  perform pg_notify('autoctl_answer', a->>'command') from jsonb_array_elements(nullif(d->'answers', 'null')) a;
end $$;

-- unused_incarnation is one above an incarnation that may not be the last: another monitor may have begun one from the same memory, and goals that are equal in
-- number must be equal in content. Nobody knows which are taken, so one is drawn.
create or replace function autoctl.unused_incarnation(above bigint) returns bigint
language sql volatile as $$ select above + 2 + floor(random() * 10000)::bigint $$;

-- new_incarnation marks everything as unproven (S9); above is what the incarnation file says, 0 without one. Node ids jump, because some may be in use that
-- this memory never saw: by as many as nobody registers within an incarnation.
create or replace function autoctl.new_incarnation(above bigint, reason text) returns bigint
language plpgsql as $$
declare
  old bigint;
  new bigint;
begin
  select greatest(m.incarnation, (select max(g.incarnation) from autoctl.grp g)) into old from autoctl.monitor m for update;
  new := case when above >= old then above + 1 else autoctl.unused_incarnation(old) end;
  update autoctl.monitor set incarnation = new;
  update autoctl.grp set incarnation = new, unproven = true, election = null, decisions = decisions + 1;
  update autoctl.command set consumed = true, answered = clock_timestamp(), answer = jsonb_build_object('command', id,
    'outcome', 'refused', 'text', 'the monitor started with an old memory before it came to this', 'hint', 'look at show state, then ask again')
  where answer is null;
  perform setval('autoctl.node_id', (select last_value from autoctl.node_id) + 1000 * (new - old));
  insert into autoctl.event (formation, grp, kind, rule, reason)
  select formation, number, 'incarnation', 'monitor_start', format('incarnation %s: %s', new, reason) from autoctl.grp;
  return new;
end $$;

-- store_probe keeps what a probe found, and tells when it changed the node's health.
create or replace function autoctl.store_probe(id bigint, instant bigint, result text) returns void
language plpgsql as $$
declare
  n      autoctl.node;
  before text;
begin
  select * into n from autoctl.node x where x.id = store_probe.id;
  if n.id is null then
    return;
  end if;
  select p.health into before from autoctl.probe p where p.node = n.id;
  insert into autoctl.probe (node, probed, health) values (n.id, instant, result)
    on conflict (node) do update set probed = excluded.probed, health = excluded.health;
  if coalesce(before, 'unknown') in ('unknown', result) then
    return;
  end if;
  insert into autoctl.event (formation, grp, node, name, kind, rule, reason, reported, assigned)
  values (n.formation, n.grp, n.id, n.name, 'health', 'probe', format('health is %s after %s', result, before),
    coalesce((select r.report->>'state' from autoctl.report r where r.node = n.id), ''), coalesce(n.goal->>'state', 'init'));
  perform autoctl.announce(n, coalesce((select r.report->>'state' from autoctl.report r where r.node = n.id), ''), 'health', result);
end $$;
