-- What keepers call.

create or replace function autoctl.hello(protocol integer, software text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform autoctl.check_protocol(protocol);
  return (select jsonb_build_object('protocol', 1, 'software', m.software, 'incarnation', m.incarnation) from autoctl.monitor m);
end $$;

-- report is called ten thousand times a second where there are many nodes: what a heartbeat without news needs is two statements.
create or replace function autoctl.report(protocol integer, report jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  id       bigint := (report->>'node')::bigint;
  n        record;
  known    jsonb; -- what was material before
  was      jsonb; -- the report before
  news     jsonb;
begin
  perform autoctl.check_protocol(protocol);
  -- A heartbeat is not worth waiting for a disk.
  perform set_config('synchronous_commit', 'off', true);
  select x.token, x.told, s.settings, exists (select from autoctl.grp g where g.formation = x.formation and g.number = x.grp and g.election is not null) as voting
  into n from autoctl.node x, autoctl.settings s where x.id = id;
  if not found then
    perform autoctl.refuse_unknown(id, report->>'token');
  end if;
  if n.token is distinct from report->>'token' then
    perform autoctl.fail('AC002', format('node %s of this monitor is another node (tokens differ)', id),
      'this node was dropped and its place taken, or its state file belongs to another directory');
  end if;
  news := autoctl.material(report, n.settings, n.voting);
  update autoctl.report r set report = report, material = news, beats = r.beats + 1, received = clock_timestamp()
  from (select x.node, x.material, x.report from autoctl.report x where x.node = id for update) o where r.node = o.node returning o.material, o.report into known, was;
  if not found then
    insert into autoctl.report as r (node, report, material, received) values (id, report, news, clock_timestamp())
      on conflict (node) do update set report = excluded.report, material = excluded.material, beats = r.beats + 1, received = excluded.received;
  end if;
  if known is distinct from news then
    perform autoctl.take_news(id, was, report);
  end if;
  return n.told;
end $$;

create or replace function autoctl.refuse_unknown(node bigint, token text) returns void
language plpgsql as $$
#variable_conflict use_variable
begin
  if exists (select from autoctl.departed x where x.id = node and x.token = token) then
    perform autoctl.fail('AC006', format('this node was dropped at %s',
      (select date_trunc('second', x.dropped) from autoctl.departed x where x.id = node)),
      'autoctl create postgres makes it a node again; autoctl drop node --destroy removes what is left');
  end if;
  perform autoctl.fail('AC002', format('the monitor knows no node %s', node),
    'it was dropped, or this is another monitor: autoctl enable monitor moves a node to a replacement monitor');
end $$;

-- take_news has a report considered that says something new, and tells of it; was is the report before, null where there was none.
create or replace function autoctl.take_news(node bigint, was jsonb, now jsonb) returns void
language plpgsql as $$
#variable_conflict use_variable
declare
  n      autoctl.node;
  before text := coalesce(was->>'state', 'init');
  state  text := now->>'state';
begin
  select * into n from autoctl.node x where x.id = node;
  perform autoctl.wake(n.formation, n.grp);
  if n.cluster <> '' and not n.followed and state = 'secondary' then
    update autoctl.node x set followed = true where x.id = n.id;
    perform autoctl.announce(n, state, 'replica', 'it follows: readers may be sent to it');
  end if;
  perform autoctl.note_milestones(n, was, now);
  if before is distinct from state then
    insert into autoctl.event (formation, grp, node, name, kind, rule, reason, reported, assigned, stamp)
    values (n.formation, n.grp, n.id, n.name, 'state', 'report', format('reported %s after %s', state, before), state,
      coalesce(n.goal->>'state', 'init'), now->'reached');
    perform autoctl.announce(n, state, 'state', '');
  end if;
  if now->>'unconfirmed' is distinct from was->>'unconfirmed' and now ? 'unconfirmed' then
    insert into autoctl.event (formation, grp, node, name, kind, rule, reason, reported, assigned, stamp)
    values (n.formation, n.grp, n.id, n.name, 'unconfirmed', 'report',
      format('clients are admitted after gate_patience although the standbys have not confirmed the log up to %s', now->>'unconfirmed'), state,
      coalesce(n.goal->>'state', 'init'), now->'reached');
    perform autoctl.announce(n, state, 'unconfirmed', '');
  end if;
end $$;

create or replace function autoctl.goal(protocol integer, node bigint) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  n autoctl.node;
begin
  perform autoctl.check_protocol(protocol);
  select * into n from autoctl.node x where x.id = node;
  if not found then
    perform autoctl.fail('AC002', format('the monitor knows no node %s', node));
  end if;
  return n.told;
end $$;

create or replace function autoctl.check_registration(r jsonb) returns void
language plpgsql as $$
begin
  if coalesce(r->>'host', '') = '' or r->>'host' ~ '[[:space:][:cntrl:],''"\\]' then
    perform autoctl.fail('AC004', format('host %L is not a host name or address', r->>'host'));
  end if;
  if (r->>'port')::integer not between 1 and 65535 then
    perform autoctl.fail('AC004', format('port %s is out of range', r->>'port'));
  end if;
  if r->>'name' ~ '[[:cntrl:]]' or octet_length(r->>'name') > 63 then
    perform autoctl.fail('AC004', format('name %L is too long (63 bytes) or holds control characters', r->>'name'));
  end if;
  if r->>'token' !~ '^[0-9a-f]{8}$' then
    perform autoctl.fail('AC004', 'the token is not 8 hexadecimal digits');
  end if;
  if (r->>'priority')::integer not between 0 and 100 then
    perform autoctl.fail('AC004', format('candidate priority %s is not between 0 and 100', r->>'priority'));
  end if;
  if coalesce((r->>'proxy_port')::integer, 0) not between 0 and 65535 then
    perform autoctl.fail('AC004', format('proxy port %s is out of range', r->>'proxy_port'));
  end if;
  if octet_length(r->>'cluster') > 63 or r->>'cluster' ~ '[[:cntrl:]]' or r->>'cluster' = 'default' then
    perform autoctl.fail('AC004', format('Citus cluster %L is the primaries'' own, longer than 63 bytes, or holds control characters', r->>'cluster'));
  end if;
end $$;

-- known_node finds the node that a registration continues, or nothing. A registration that is in the way of another node fails.
create or replace function autoctl.known_node(r jsonb) returns autoctl.node
language plpgsql as $$
declare
  n      autoctl.node;
  wanted bigint := coalesce((r->>'node_id')::bigint, 0);
begin
  if wanted <> 0 then
    select * into n from autoctl.node where id = wanted;
    if found and n.token <> r->>'token' then
      perform autoctl.fail('AC003', format('node id %s belongs to another node, %s at %s:%s', n.id, n.name, n.host, n.port),
        'the state file of this node belongs to another monitor');
    elsif not found and coalesce(jsonb_typeof(r->'memory'), 'null') = 'null' then
      perform autoctl.fail('AC002', format('the monitor knows no node %s', wanted),
        'it was dropped, or this is a replacement monitor: see autoctl enable monitor');
    end if;
  else
    select * into n from autoctl.node
    where formation = r->>'formation' and token = r->>'token'
      and (host = r->>'host' and port = (r->>'port')::integer or name = r->>'name');
  end if;
  if n.id is not null and n.formation <> r->>'formation' then
    perform autoctl.fail('AC003', format('node %s is in formation %L', n.id, n.formation));
  end if;
  return n;
end $$;

create or replace function autoctl.check_free(r jsonb, except_id bigint) returns void
language plpgsql as $$
declare
  n autoctl.node;
begin
  select * into n from autoctl.node
  where host = r->>'host' and port = (r->>'port')::integer and id is distinct from except_id;
  if found then
    perform autoctl.fail('AC003', format('%s:%s is node %s (%s) of formation %L', n.host, n.port, n.id, n.name, n.formation),
      'drop that node first if it is gone: autoctl drop node');
  end if;
  select * into n from autoctl.node
  where formation = r->>'formation' and name = r->>'name' and id is distinct from except_id;
  if found then
    perform autoctl.fail('AC003', format('name %L is taken by node %s at %s:%s', n.name, n.id, n.host, n.port),
      'choose another --name, or drop that node first if it is gone: autoctl drop node');
  end if;
end $$;

-- registration_formation locks the formation and checks kind and database. The first node of a formation may set both, and so may the first one after
-- its last node has left.
create or replace function autoctl.registration_formation(r jsonb) returns autoctl.formation
language plpgsql as $$
declare
  f autoctl.formation;
begin
  if r->>'kind' = 'citus' and (r->>'group')::integer = 0 then -- a coordinator makes its formation
    insert into autoctl.formation (name, kind, database)
    values (r->>'formation', 'citus', coalesce(nullif(r->>'database', ''), 'postgres')) on conflict do nothing;
  end if;
  select * into f from autoctl.formation where name = r->>'formation' for update;
  if not found then
    perform autoctl.fail('AC002', format('the monitor knows no formation %L', r->>'formation'), 'create it first: autoctl create formation');
  end if;
  if not exists (select from autoctl.node where formation = f.name) then
    update autoctl.formation
    set kind = coalesce(nullif(r->>'kind', ''), kind), database = coalesce(nullif(r->>'database', ''), database)
    where name = f.name returning * into f;
  elsif f.kind = 'citus' and (r->>'group')::integer = 0 and not exists (select from autoctl.node where formation = f.name and grp = 0) then
    -- Workers that came before wait for the coordinator's word.
    update autoctl.formation set database = coalesce(nullif(r->>'database', ''), database) where name = f.name returning * into f;
  end if;
  if coalesce(r->>'kind', '') not in ('', f.kind) then
    perform autoctl.fail('AC003', format('formation %L is of kind %s, not %s', f.name, f.kind, r->>'kind'),
      'choose another --formation; the first node of a formation decides, and autoctl show state tells who is there');
  end if;
  if coalesce(r->>'database', '') not in ('', f.database) then
    perform autoctl.fail('AC003', format('the database of formation %L is %L, not %L', f.name, f.database, r->>'database'),
      'give that --dbname, or choose another --formation; the first node of a formation decides, and autoctl show state tells who is there');
  end if;
  return f;
end $$;

-- adopt takes the group's past from the memory of a keeper that another monitor led (S9): a new incarnation above the one it obeyed,
-- nothing proved, the newest record wins.
create or replace function autoctl.adopt(g autoctl.grp, memory jsonb) returns void
language plpgsql as $$
declare
  goal  jsonb := memory->'goal';
  above boolean := ((goal->>'epoch')::bigint, (goal->>'seq')::bigint) > (g.epoch, g.seq);
  k     integer;
begin
  if coalesce((goal->>'seq')::bigint, 0) = 0 then
    return; -- it never had a goal: nothing to hand over
  end if;
  if (goal->>'incarnation')::bigint < g.incarnation and not above then
    return;
  end if;
  k := coalesce((goal->'record'->-1->>'k')::integer, 0);
  if above then
    -- What operators wanted of the group; the formation keeps it for groups to come.
    update autoctl.formation set
      paused = coalesce((goal->'wishes'->>'paused')::boolean, paused)
    where name = g.formation;
    insert into autoctl.formation_database (formation, name)
      select g.formation, x from jsonb_array_elements_text(case jsonb_typeof(goal->'databases') when 'array' then goal->'databases' else '[]' end) x
      on conflict do nothing;
    update autoctl.grp set number_sync = coalesce((goal->'wishes'->>'number_sync')::integer, number_sync)
    where formation = g.formation and number = g.number;
    update autoctl.settings set settings = settings || (goal->'settings') where not chosen and jsonb_typeof(goal->'settings') = 'object';
  end if;
  update autoctl.grp set
    incarnation = autoctl.unused_incarnation(greatest(grp.incarnation, (goal->>'incarnation')::bigint)), unproven = true, election = null,
    system_id = case when system_id = 0 then coalesce((goal->>'system_id')::numeric, 0) else system_id end,
    number_sync = case when k > 1 and not goal ? 'wishes' then greatest(k, number_sync) else number_sync end
  where formation = g.formation and number = g.number;
  if above then
    update autoctl.grp set epoch = (goal->>'epoch')::bigint, seq = (goal->>'seq')::bigint,
      record = case jsonb_typeof(goal->'record') when 'array' then goal->'record' else record end,
      orders = case jsonb_typeof(goal->'orders') when 'array' then goal->'orders' else orders end
    where formation = g.formation and number = g.number;
  end if;
  update autoctl.monitor set incarnation = greatest(monitor.incarnation, x.incarnation)
  from autoctl.grp x where x.formation = g.formation and x.number = g.number;
end $$;

create or replace function autoctl.registration_group(f autoctl.formation, r jsonb) returns autoctl.grp
language plpgsql as $$
declare
  g      autoctl.grp;
  wanted integer := coalesce((r->>'group')::integer, -1);
  sysid  numeric := coalesce((r->>'system_id')::numeric, 0);
begin
  if f.kind = 'citus' and wanted < 0 then
    -- The caller holds the lock of the formation: a group is filled to two nodes, then the next one is opened.
    if coalesce(r->>'cluster', '') <> '' then -- a read replica goes where its cluster has none yet
      select min(x.grp) into wanted from autoctl.node x where x.formation = f.name and x.grp > 0 and x.cluster = ''
        and not exists (select from autoctl.node o where o.formation = f.name and o.grp = x.grp and o.cluster = r->>'cluster');
      if wanted is null then
        perform autoctl.fail('AC002', format('formation %L has no worker group without a read replica of Citus cluster %L', f.name, r->>'cluster'),
          'create the group''s first worker, or name a group with --group');
      end if;
    else
      select min(x.grp) into wanted from (select grp from autoctl.node where formation = f.name and grp > 0 and cluster = '' group by grp having count(*) = 1) x;
    end if;
    if wanted is null then
      select coalesce(max(number), 0) + 1 into wanted from autoctl.grp where formation = f.name;
    end if;
  elsif f.kind = 'pgsql' and wanted > 0 then
    perform autoctl.fail('AC004', format('a pgsql formation has group 0 only, not %s', wanted));
  end if;
  wanted := greatest(wanted, 0);
  if coalesce(r->>'cluster', '') <> '' then
    if f.kind <> 'citus' then
      perform autoctl.fail('AC004', format('formation %L is no Citus formation, and has no read replicas that Citus knows', f.name));
    elsif not exists (select from autoctl.node n where n.formation = f.name and n.grp = wanted and n.cluster = '')
        and coalesce((r->'memory'->'goal'->>'seq')::bigint, 0) = 0 then
      perform autoctl.fail('AC002', format('group %s of formation %L has no node yet that a read replica could follow', wanted, f.name),
        'create the group''s first node; with --run the replica waits for it');
    end if;
  end if;
  insert into autoctl.grp (formation, number, incarnation, number_sync)
    select f.name, wanted, m.incarnation, f.number_sync from autoctl.monitor m on conflict do nothing;
  select * into g from autoctl.grp where formation = f.name and number = wanted for update;
  if jsonb_typeof(r->'memory') = 'object' then
    sysid := coalesce(nullif((r->'memory'->'goal'->>'system_id')::numeric, 0), sysid);
  end if;
  if sysid <> 0 and g.system_id <> 0 and sysid <> g.system_id then
    perform autoctl.fail('AC007', format('the data directory has system identifier %s, group %s of formation %L has %s',
      sysid, g.number, f.name, g.system_id), 'it is a copy of another cluster: use an empty directory, or another formation');
  end if;
  return g;
end $$;

create or replace function autoctl.register(protocol integer, request jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  f autoctl.formation;
  g autoctl.grp;
  n autoctl.node;
  memory jsonb := case jsonb_typeof(request->'memory') when 'object' then request->'memory' end;
  chosen text := coalesce(request->>'name', '');
  new_id bigint;
begin
  perform autoctl.check_protocol(protocol);
  perform autoctl.check_registration(request);
  f := autoctl.registration_formation(request);
  n := autoctl.known_node(request);
  perform autoctl.check_free(request, n.id);
  if n.id is not null then
    if n.dropping then
      perform autoctl.fail('AC005', format('node %s (%s) is being dropped', n.id, n.name), 'wait until it is gone, then create it anew');
    end if;
    perform from autoctl.grp where formation = n.formation and number = n.grp for update;
    if request ? 'cluster' and request->>'cluster' <> n.cluster then
      perform autoctl.fail('AC003', format('node %s (%s) %s', n.id, n.name, case n.cluster when '' then 'is no read replica' else format('is a read replica of Citus cluster %L', n.cluster) end),
        'a node stays what it was created as: drop it and create it anew');
    end if;
    update autoctl.node set host = request->>'host', port = (request->>'port')::integer, name = coalesce(nullif(chosen, ''), name),
      proxy_port = coalesce((request->>'proxy_port')::integer, proxy_port),
      has_data = case when goal is null then (request->>'has_data')::boolean else has_data end
    where id = n.id returning * into n;
    perform autoctl.note_served(n.formation, n.grp);
    perform autoctl.wake(n.formation, n.grp);
    perform autoctl.wake_fellows(n.formation);
    return jsonb_build_object('node', n.id, 'group', n.grp, 'name', n.name);
  end if;
  g := autoctl.registration_group(f, request);
  if memory is not null then
    new_id := coalesce(nullif((request->>'node_id')::bigint, 0), nextval('autoctl.node_id'));
    -- Never below: an id is never used again.
    perform setval('autoctl.node_id', greatest(new_id, (select last_value from autoctl.node_id)));
    perform autoctl.adopt(g, memory);
  else
    new_id := nextval('autoctl.node_id');
  end if;
  delete from autoctl.departed where id = new_id;
  insert into autoctl.node (id, formation, grp, name, host, port, proxy_port, cluster, token, priority, quorum, has_data, goal, told)
  values (new_id, f.name, g.number, coalesce(nullif(chosen, ''), 'node_' || new_id), request->>'host', (request->>'port')::integer,
    coalesce((request->>'proxy_port')::integer, 0), coalesce(request->>'cluster', ''), request->>'token', coalesce((memory->'goal'->'wishes'->>'priority')::integer, (request->>'priority')::integer),
    coalesce((memory->'goal'->'wishes'->>'quorum')::boolean, (request->>'quorum')::boolean), (request->>'has_data')::boolean,
    case when (memory->'goal'->>'seq')::bigint > 0 then memory->'goal' end, case when (memory->'goal'->>'seq')::bigint > 0 then memory->'goal' end)
  returning * into n;
  if n.cluster <> '' then
    update autoctl.node set priority = 0, quorum = false where id = n.id;
    update autoctl.grp set replicas = true where formation = n.formation and number = n.grp;
  end if;
  insert into autoctl.event (formation, grp, node, name, kind, rule, reason, reported, assigned)
  values (n.formation, n.grp, n.id, n.name, 'registered', 'register', format('registered at %s:%s', n.host, n.port), 'init', 'init');
  perform autoctl.announce(n, 'init', 'registered', '');
  perform autoctl.note_served(n.formation, n.grp);
  perform autoctl.wake(n.formation, n.grp);
  perform autoctl.wake_fellows(n.formation);
  return jsonb_build_object('node', n.id, 'group', n.grp, 'name', n.name);
exception when unique_violation then
  perform autoctl.fail('AC003', 'another node has taken that name or address at the same moment', 'try again');
  return null;
end $$;
