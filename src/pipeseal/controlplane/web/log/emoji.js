// `:rocket:` as the character it stands for, in names that people give to steps and groups. The character is text, drawn
// with the reader's own fonts; a name that is not in this list stays as it is.

// A name and its character, as the field writes them.
const LIST = `
smile 😄 smiley 😃 grinning 😀 grin 😁 laughing 😆 satisfied 😆 joy 😂 rofl 🤣 wink 😉 blush 😊 innocent 😇 sunglasses 😎 heart_eyes 😍 kissing_heart 😘
yum 😋 stuck_out_tongue 😛 thinking 🤔 neutral_face 😐 expressionless 😑 no_mouth 😶 smirk 😏 unamused 😒 roll_eyes 🙄 grimacing 😬 relieved 😌 pensive 😔
sleepy 😪 sleeping 😴 mask 😷 dizzy_face 😵 exploding_head 🤯 cowboy_hat_face 🤠 partying_face 🥳 nerd_face 🤓 monocle_face 🧐 confused 😕 worried 😟
open_mouth 😮 astonished 😲 flushed 😳 fearful 😨 cry 😢 sob 😭 scream 😱 confounded 😖 weary 😩 tired_face 😫 triumph 😤 rage 😡 angry 😠 skull 💀
hankey 💩 poop 💩 clown_face 🤡 ghost 👻 alien 👽 space_invader 👾 robot 🤖 smile_cat 😸 see_no_evil 🙈 hear_no_evil 🙉 speak_no_evil 🙊
wave 👋 ok_hand 👌 v ✌️ crossed_fingers 🤞 metal 🤘 point_left 👈 point_right 👉 point_up_2 👆 point_down 👇 thumbsup 👍 +1 👍 thumbsdown 👎 -1 👎
fist ✊ punch 👊 clap 👏 raised_hands 🙌 open_hands 👐 handshake 🤝 pray 🙏 writing_hand ✍️ muscle 💪 ear 👂 nose 👃 brain 🧠 eyes 👀 eye 👁️
baby 👶 cop 👮 detective 🕵️ guardsman 💂 construction_worker 👷 mage 🧙 zombie 🧟 shrug 🤷 facepalm 🤦 runner 🏃 running 🏃 walking 🚶 dancer 💃
busts_in_silhouette 👥 footprints 👣
monkey_face 🐵 monkey 🐒 dog 🐶 poodle 🐩 wolf 🐺 fox_face 🦊 cat 🐱 lion 🦁 tiger 🐯 horse 🐴 unicorn 🦄 cow 🐮 pig 🐷 sheep 🐑 camel 🐫 elephant 🐘
mouse 🐭 hamster 🐹 rabbit 🐰 hedgehog 🦔 bear 🐻 koala 🐨 panda_face 🐼 chicken 🐔 hatching_chick 🐣 bird 🐦 penguin 🐧 eagle 🦅 duck 🦆 owl 🦉 frog 🐸
crocodile 🐊 turtle 🐢 snake 🐍 dragon 🐉 dragon_face 🐲 whale 🐳 dolphin 🐬 fish 🐟 tropical_fish 🐠 shark 🦈 octopus 🐙 snail 🐌 butterfly 🦋 bug 🐛
ant 🐜 bee 🐝 honeybee 🐝 beetle 🐞 spider 🕷️ scorpion 🦂 crab 🦀 lobster 🦞 shrimp 🦐 squid 🦑 whale2 🐋 gorilla 🦍 sloth 🦥 llama 🦙 parrot 🦜
bouquet 💐 cherry_blossom 🌸 rose 🌹 sunflower 🌻 tulip 🌷 seedling 🌱 evergreen_tree 🌲 deciduous_tree 🌳 palm_tree 🌴 cactus 🌵 herb 🌿
four_leaf_clover 🍀 maple_leaf 🍁 fallen_leaf 🍂 mushroom 🍄
grapes 🍇 melon 🍈 watermelon 🍉 tangerine 🍊 lemon 🍋 banana 🍌 pineapple 🍍 mango 🥭 apple 🍎 green_apple 🍏 pear 🍐 peach 🍑 cherries 🍒 strawberry 🍓
tomato 🍅 coconut 🥥 avocado 🥑 eggplant 🍆 potato 🥔 carrot 🥕 corn 🌽 hot_pepper 🌶️ cucumber 🥒 broccoli 🥦 bread 🍞 croissant 🥐 pretzel 🥨 cheese 🧀
egg 🥚 bacon 🥓 hamburger 🍔 fries 🍟 pizza 🍕 hotdog 🌭 sandwich 🥪 taco 🌮 burrito 🌯 popcorn 🍿 sushi 🍣 cookie 🍪 birthday 🎂 cake 🍰 pie 🥧 candy 🍬
lollipop 🍭 honey_pot 🍯 coffee ☕ tea 🍵 beer 🍺 beers 🍻 wine_glass 🍷 cocktail 🍸 champagne 🍾 clinking_glasses 🥂 ice_cube 🧊 salt 🧂
earth_africa 🌍 earth_americas 🌎 earth_asia 🌏 globe_with_meridians 🌐 world_map 🗺️ compass 🧭 mountain ⛰️ volcano 🌋 camping 🏕️ desert_island 🏝️
building_construction 🏗️ bricks 🧱 house 🏠 office 🏢 hospital 🏥 bank 🏦 school 🏫 factory 🏭 castle 🏰 tent ⛺ bridge_at_night 🌉
rocket 🚀 airplane ✈️ helicopter 🚁 flying_saucer 🛸 satellite 🛰️ train 🚋 steam_locomotive 🚂 bullettrain_front 🚅 bus 🚌 ambulance 🚑 fire_engine 🚒
police_car 🚓 taxi 🚕 car 🚗 truck 🚚 articulated_lorry 🚛 tractor 🚜 bike 🚲 scooter 🛴 motor_scooter 🛵 ship 🚢 boat ⛵ sailboat ⛵ speedboat 🚤 anchor ⚓
construction 🚧 traffic_light 🚥 vertical_traffic_light 🚦 octagonal_sign 🛑 rotating_light 🚨 fuelpump ⛽ busstop 🚏 checkered_flag 🏁 triangular_flag_on_post 🚩
hourglass ⌛ hourglass_flowing_sand ⏳ watch ⌚ alarm_clock ⏰ stopwatch ⏱️ timer_clock ⏲️ clock1 🕐 calendar 📆 date 📅 spiral_calendar 🗓️
sunny ☀️ partly_sunny ⛅ cloud ☁️ rainbow 🌈 umbrella ☔ zap ⚡ snowflake ❄️ snowman ⛄ tornado 🌪️ fire 🔥 droplet 💧 ocean 🌊 star ⭐ star2 🌟 dizzy 💫
sparkles ✨ comet ☄️ boom 💥 collision 💥 sweat_drops 💦 dash 💨 crescent_moon 🌙 full_moon 🌕 new_moon 🌑 sun_with_face 🌞
jack_o_lantern 🎃 christmas_tree 🎄 fireworks 🎆 sparkler 🎇 balloon 🎈 tada 🎉 confetti_ball 🎊 gift 🎁 ribbon 🎀 ticket 🎫 trophy 🏆 medal_sports 🏅
1st_place_medal 🥇 2nd_place_medal 🥈 3rd_place_medal 🥉 soccer ⚽ basketball 🏀 football 🏈 baseball ⚾ tennis 🎾 bowling 🎳 golf ⛳ dart 🎯 video_game 🎮
joystick 🕹️ game_die 🎲 jigsaw 🧩 chess_pawn ♟️ performing_arts 🎭 art 🎨 thread 🧵 yarn 🧶 guitar 🎸 violin 🎻 drum 🥁 trumpet 🎺 saxophone 🎷
musical_note 🎵 notes 🎶 microphone 🎤 headphones 🎧 radio 📻 bell 🔔 no_bell 🔕 loudspeaker 📢 mega 📣
iphone 📱 phone ☎️ telephone_receiver 📞 battery 🔋 electric_plug 🔌 computer 💻 desktop_computer 🖥️ printer 🖨️ keyboard ⌨️ computer_mouse 🖱️
minidisc 💽 floppy_disk 💾 cd 💿 dvd 📀 abacus 🧮 movie_camera 🎥 film_strip 🎞️ clapper 🎬 tv 📺 camera 📷 camera_flash 📸 video_camera 📹 mag 🔍
mag_right 🔎 bulb 💡 flashlight 🔦 candle 🕯️ book 📖 books 📚 notebook 📓 ledger 📒 page_with_curl 📃 scroll 📜 page_facing_up 📄 newspaper 📰 bookmark 🔖
label 🏷️ moneybag 💰 dollar 💵 credit_card 💳 receipt 🧾 chart 💹 email 📧 envelope ✉️ incoming_envelope 📨 outbox_tray 📤 inbox_tray 📥 package 📦
mailbox 📫 postbox 📮 ballot_box 🗳️ pencil2 ✏️ pencil 📝 memo 📝 briefcase 💼 file_folder 📁 open_file_folder 📂 card_index 📇
chart_with_upwards_trend 📈 chart_with_downwards_trend 📉 bar_chart 📊 clipboard 📋 pushpin 📌 round_pushpin 📍 paperclip 📎 straight_ruler 📏
triangular_ruler 📐 scissors ✂️ card_file_box 🗃️ file_cabinet 🗄️ wastebasket 🗑️ lock 🔒 unlock 🔓 lock_with_ink_pen 🔏 closed_lock_with_key 🔐 key 🔑
old_key 🗝️ hammer 🔨 axe 🪓 pick ⛏️ hammer_and_pick ⚒️ hammer_and_wrench 🛠️ dagger 🗡️ crossed_swords ⚔️ gun 🔫 bomb 💣 shield 🛡️ wrench 🔧
nut_and_bolt 🔩 gear ⚙️ clamp 🗜️ balance_scale ⚖️ link 🔗 chains ⛓️ toolbox 🧰 magnet 🧲 alembic ⚗️ test_tube 🧪 petri_dish 🧫 dna 🧬 microscope 🔬
telescope 🔭 satellite_antenna 📡 syringe 💉 pill 💊 adhesive_bandage 🩹 stethoscope 🩺 door 🚪 bed 🛏️ toilet 🚽 shower 🚿 broom 🧹 basket 🧺 soap 🧼
sponge 🧽 fire_extinguisher 🧯 shopping_cart 🛒 crown 👑 tophat 🎩 mortar_board 🎓 gem 💎 eyeglasses 👓 goggles 🥽 lab_coat 🥼 safety_vest 🦺 mans_shoe 👞
crystal_ball 🔮 nazar_amulet 🧿 magic_wand 🪄 world 🌍 moyai 🗿
heart ❤️ orange_heart 🧡 yellow_heart 💛 green_heart 💚 blue_heart 💙 purple_heart 💜 broken_heart 💔 sparkling_heart 💖 100 💯 anger 💢 speech_balloon 💬
thought_balloon 💭 zzz 💤 warning ⚠️ children_crossing 🚸 no_entry ⛔ no_entry_sign 🚫 radioactive ☢️ biohazard ☣️ arrow_up ⬆️ arrow_right ➡️ arrow_down ⬇️
arrow_left ⬅️ arrow_up_down ↕️ arrow_right_hook ↪️ leftwards_arrow_with_hook ↩️ arrows_clockwise 🔃 arrows_counterclockwise 🔄 back 🔙 end 🔚 on 🔛 soon 🔜
top 🔝 recycle ♻️ infinity ♾️ heavy_check_mark ✔️ white_check_mark ✅ ballot_box_with_check ☑️ x ❌ negative_squared_cross_mark ❎ heavy_plus_sign ➕
heavy_minus_sign ➖ question ❓ grey_question ❔ exclamation ❗ heavy_exclamation_mark ❗ bangbang ‼️ interrobang ⁉️ sos 🆘 new 🆕 up 🆙 cool 🆒 free 🆓
ok 🆗 id 🆔 information_source ℹ️ abc 🔤 1234 🔢 zero 0️⃣ one 1️⃣ two 2️⃣ three 3️⃣ four 4️⃣ five 5️⃣ six 6️⃣ seven 7️⃣ eight 8️⃣ nine 9️⃣ keycap_ten 🔟
arrow_forward ▶️ pause_button ⏸️ stop_button ⏹️ record_button ⏺️ fast_forward ⏩ rewind ⏪ repeat 🔁 repeat_one 🔂 twisted_rightwards_arrows 🔀 signal_strength 📶
red_circle 🔴 orange_circle 🟠 yellow_circle 🟡 green_circle 🟢 large_blue_circle 🔵 purple_circle 🟣 white_circle ⚪ black_circle ⚫ red_square 🟥
green_square 🟩 large_blue_diamond 🔷 small_red_triangle 🔺 white_flag 🏳️ black_flag 🏴 rainbow_flag 🏳️‍🌈
`;
const LONGEST = 40;

let characters = null;

function read() {
  const parts = LIST.trim().split(/\s+/);
  return new Map(parts.flatMap((name, at) => (at % 2 === 0 ? [[name, parts[at + 1]]] : [])));
}

/** A text with the characters of the names that are in it. */
export function withEmoji(text) {
  if (!/:[\w+-]+:/.test(text)) return text;
  characters ??= read();
  let drawn = "";
  let at = 0;
  for (let start = text.indexOf(":"); start >= 0; ) {
    const end = text.indexOf(":", start + 1);
    if (end < 0) break;
    const found = end - start - 1 > LONGEST ? undefined : characters.get(text.slice(start + 1, end));
    drawn += text.slice(at, start) + (found ?? text.slice(start, end));
    // A colon that ends nothing may begin the next name.
    at = found === undefined ? end : end + 1;
    start = found === undefined ? end : text.indexOf(":", at);
  }
  return drawn + text.slice(at);
}
